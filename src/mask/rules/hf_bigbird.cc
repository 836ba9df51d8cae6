// hf_bigbird(block_size, num_random_blocks): what transformers' BigBirdBlockSparseAttention sees,
// quirks included, so that its layers can be reproduced. Block row a of n sees, in this layout,
//   a = 0, n - 1   every key
//   a = 1          blocks 0, 1, 2, n - 1 and its random ones
//   a = n - 2      blocks 0, n - 3, n - 2, n - 1 and its random ones
//   others         blocks 0, a - 1, a, a + 1, n - 1 and its random ones
// and a block that is listed twice counts twice (softmax runs over the joined lists):
//   eval mode      all random blocks are block 0: it counts 1 + num_random_blocks times
//   training       at 1024 tokens the last block may be drawn, and then counts twice
// Sequences of at most (5 + 2 num_random_blocks) block_size tokens see everything, once (the model
// switches to full attention). Source: transformers models/big_bird/modeling_big_bird.py.
#include <algorithm>
#include <array>
#include <memory>
#include <utility>
#include <vector>

#include "mask/hf_bigbird_blocks.h"
#include "mask/per_batch.h"
#include "raptly/mask.h"

namespace raptly {
namespace mask_detail {
namespace {

constexpr std::int64_t kMaxRandom = 64;

// The key blocks of one row, ascending, as often as they count.
struct BlockRow {
  bool all = false;  // every block once
  std::array<std::int64_t, kMaxRandom + 5> blocks{};
  std::size_t n = 0;

  void add(std::int64_t block) { blocks[n++] = block; }
  std::int64_t times(std::int64_t block) const {
    if (all) return 1;
    const auto [first, last] = std::equal_range(blocks.begin(), end(), block);
    return last - first;
  }
  // Blocks least .. most that count more than `copy` times.
  std::int64_t count(std::int64_t least, std::int64_t most, int copy) const {
    if (all) return copy == 0 ? most - least + 1 : 0;
    std::int64_t found = 0;
    for (auto at = blocks.begin(); at != end();) {
      const auto next = std::upper_bound(at, end(), *at);
      found += *at >= least && *at <= most && next - at > copy;
      at = next;
    }
    return found;
  }

 private:
  std::array<std::int64_t, kMaxRandom + 5>::const_iterator end() const {
    return blocks.begin() + static_cast<std::ptrdiff_t>(n);
  }
};

class HfBigBird final : public Rule {
 public:
  explicit HfBigBird(const mask::HfBigBirdOptions& options) : o_(options) {
    if (!o_.seed) return;
    drawn_ = hf_random_blocks(o_);
  }

  bool sees(const MaskScope& scope, std::int64_t query, std::int64_t key) const override {
    return row(scope, query / o_.block_size).times(key / o_.block_size) > scope.copy;
  }
  TileAnswer answer(const MaskScope& scope, const MaskTile& tile) const override {
    const std::int64_t least = tile.first_key / o_.block_size;
    const std::int64_t most = tile.last_key() / o_.block_size;
    bool any = false, all = true;
    for (std::int64_t a = tile.first_query / o_.block_size; a <= tile.last_query() / o_.block_size;
         ++a) {
      const std::int64_t n = row(scope, a).count(least, most, scope.copy);
      any |= n > 0;
      all &= n == most - least + 1;
      if (any && !all) return TileAnswer::kPartial;
    }
    return all ? TileAnswer::kFull : TileAnswer::kEmpty;
  }
  void bits(const MaskScope& scope, const MaskTile& tile,
            std::span<std::uint64_t> words) const override {
    std::fill(words.begin(), words.end(), 0);
    for (std::int64_t a = tile.first_query / o_.block_size; a <= tile.last_query() / o_.block_size;
         ++a) {
      const std::int64_t begin = a * o_.block_size - tile.first_query;
      const std::uint64_t queries = bit_range(begin, begin + o_.block_size, tile.n_queries);
      const BlockRow blocks = row(scope, a);
      for (std::int64_t k = 0; k < tile.n_keys;) {
        const std::int64_t b = (tile.first_key + k) / o_.block_size;
        const std::int64_t end = std::min(tile.n_keys, (b + 1) * o_.block_size - tile.first_key);
        const bool seen = blocks.times(b) > scope.copy;
        for (; k < end; ++k) words[static_cast<std::size_t>(k)] |= seen ? queries : 0;
      }
    }
  }
  std::string to_string() const override {
    std::string text =
        "hf_bigbird(" + std::to_string(o_.block_size) + ", " + std::to_string(o_.num_random_blocks);
    if (!o_.seed) return text + ")";
    return text + ", seed=" + std::to_string(*o_.seed) + ", n_heads=" + std::to_string(o_.n_heads) +
           ", seq_len=" + std::to_string(o_.seq_len) + ", max_len=" + std::to_string(o_.max_len) +
           ")";
  }
  void check(const MaskScope& scope) const override {
    check_head("hf_bigbird", n_heads(), scope);
    if (scope.placement) {
      fail("hf_bigbird",
           "its blocks are counted from the start of one sequence. It does not go with packed or "
           "positions.");
    }
    if (scope.q_len != scope.kv_len) {
      fail("hf_bigbird", "q_len is " + std::to_string(scope.q_len) + ", kv_len is " +
                             std::to_string(scope.kv_len) +
                             ". They must be equal: it is self-attention.");
    }
    if (o_.seed && n_blocks(scope.kv_len) != n_blocks(o_.seq_len)) {
      fail("hf_bigbird", "kv_len is " + std::to_string(scope.kv_len) +
                             ", the random blocks were drawn for seq_len " +
                             std::to_string(o_.seq_len) + ". They must have as many blocks.");
    }
  }
  int max_copies() const override { return 1 + static_cast<int>(o_.num_random_blocks); }
  std::int64_t n_heads() const override { return o_.seed ? o_.n_heads : 0; }
  bool same_heads(std::int64_t a, std::int64_t b) const override {
    return !o_.seed || drawn_[static_cast<std::size_t>(a)] == drawn_[static_cast<std::size_t>(b)];
  }
  std::int64_t query_block() const override { return o_.block_size; }

 private:
  std::int64_t n_blocks(std::int64_t len) const {
    return (len + o_.block_size - 1) / o_.block_size;
  }
  bool is_short(std::int64_t len) const {
    return len <= (5 + 2 * o_.num_random_blocks) * o_.block_size;
  }
  BlockRow row(const MaskScope& scope, std::int64_t a) const {
    BlockRow row;
    const std::int64_t n = n_blocks(scope.kv_len);
    row.all = a == 0 || a == n - 1 || is_short(scope.kv_len);
    if (row.all) return row;
    row.add(0);
    row.add(n - 1);
    const std::int64_t middle = std::clamp<std::int64_t>(a, 2, n - 3);
    const bool is_edge = a == 1 || a == n - 2;  // block 0 or n - 1 is the neighbour
    for (std::int64_t b = middle - 1; b <= middle + 1; ++b) {
      if (!is_edge || (b >= 1 && b <= n - 2 && std::abs(b - a) <= 1)) row.add(b);
    }
    for (std::int64_t i = 0; i < o_.num_random_blocks; ++i) {
      row.add(o_.seed ? drawn_[static_cast<std::size_t>(scope.head)]
                              [static_cast<std::size_t>((a - 1) * o_.num_random_blocks + i)]
                      : 0);
    }
    std::sort(row.blocks.begin(), row.blocks.begin() + static_cast<std::ptrdiff_t>(row.n));
    return row;
  }

  mask::HfBigBirdOptions o_;
  std::vector<std::vector<std::int64_t>> drawn_;  // [n_heads][(row - 1) * num_random_blocks]
};

}  // namespace

Mask parse_hf_bigbird(RuleArguments& args) {
  mask::HfBigBirdOptions options;
  options.block_size = args.integer(0, "block_size");
  options.num_random_blocks = args.integer(1, "num_random_blocks");
  if (args.has(2, "seed")) {
    options.seed = args.integer(2, "seed");
    options.n_heads = args.integer(3, "n_heads");
    options.seq_len = args.integer(4, "seq_len");
    if (args.has(5, "max_len")) options.max_len = args.integer(5, "max_len");
  }
  return mask::hf_bigbird(options);
}

}  // namespace mask_detail

Mask mask::hf_bigbird(const HfBigBirdOptions& options) {
  const auto check_number = [](const char* name, std::int64_t value, std::int64_t least,
                               std::int64_t most) {
    mask_detail::check_number("hf_bigbird", name, value, {least, most});
  };
  constexpr std::int64_t kMostTokens = std::int64_t{1} << 24;
  check_number("block_size", options.block_size, 1, kMostTokens);
  check_number("num_random_blocks", options.num_random_blocks, 0, mask_detail::kMaxRandom);
  if (options.seed) {
    check_number("seed", *options.seed, 0, 0xffffffff);
    check_number("n_heads", options.n_heads, 1, 4096);
    check_number("seq_len", options.seq_len, 1, kMostTokens);
    check_number("max_len", options.max_len, 1, kMostTokens);
    // What is drawn at once, for all heads; a text may ask for anything.
    const std::int64_t rows =
        std::max(options.seq_len, options.max_len) / options.block_size * options.n_heads;
    check_number("the number of block rows of all heads", rows, 0, std::int64_t{1} << 20);
  }
  return Mask(std::make_shared<mask_detail::HfBigBird>(options));
}

Mask mask::hf_bigbird(const HfBigBirdOptions& options, const PerBatch& attention_mask) {
  return hf_bigbird(options) & real_tokens(attention_mask);
}

}  // namespace raptly
