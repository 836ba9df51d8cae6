// bigbird(block_size, num_random_blocks, seed): each query block sees itself, the block before and
// after it, and random blocks, drawn anew for every head and query block. Some tokens are global:
//   layout "itc"  the first and the last block of the sequence
//   layout "etc"  num_global_tokens extra tokens in front; blocks are counted behind them
// Every block is seen once: where the random blocks run out, fewer are drawn (published code draws
// from other ranges and counts some twice). Source: Zaheer et al., Big Bird, arXiv:2007.14062.
#include <algorithm>
#include <array>
#include <atomic>
#include <memory>

#include "mask/per_batch.h"
#include "raptly/mask.h"

namespace raptly {
namespace mask_detail {
namespace {

constexpr std::int64_t kMaxRandom = 64;

// SplitMix64's finaliser: the random numbers are a pure function of what they are for.
std::uint64_t mix(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

// The key blocks that one query block sees.
struct Row {
  bool all = false;
  std::array<std::int64_t, kMaxRandom + 5> blocks{};  // ascending, the first n
  std::size_t n = 0;

  const std::int64_t* begin() const { return blocks.data(); }
  const std::int64_t* end() const { return blocks.data() + n; }
  void sort() { std::sort(blocks.data(), blocks.data() + n); }
  bool sees(std::int64_t block) const { return all || std::binary_search(begin(), end(), block); }
  std::int64_t count(std::int64_t least, std::int64_t most) const {
    if (all) return most - least + 1;
    return std::upper_bound(begin(), end(), most) - std::lower_bound(begin(), end(), least);
  }
};

class BigBird final : public Rule {
 public:
  explicit BigBird(const mask::BigBirdOptions& options) : o_(options) {}

  bool sees(const MaskScope& scope, std::int64_t query, std::int64_t key) const override {
    const std::int64_t p = scope.first_position + query;
    return key < n_extra() || row(scope, p).sees(block(key));
  }
  TileAnswer answer(const MaskScope& scope, const MaskTile& tile) const override {
    const std::int64_t first = scope.first_position + tile.first_query;
    const std::int64_t last = scope.first_position + tile.last_query();
    if (tile.last_key() < n_extra()) return TileAnswer::kFull;
    bool any = tile.first_key < n_extra(), all = true;
    const std::int64_t least = block(std::max(tile.first_key, n_extra()));
    const std::int64_t most = block(tile.last_key());
    for (std::int64_t p = first; p <= last; p = block_end(p)) {
      const std::int64_t n = row(scope, p).count(least, most);
      any |= n > 0;
      all &= n == most - least + 1;
      if (any && !all) return TileAnswer::kPartial;
    }
    return all ? TileAnswer::kFull : TileAnswer::kEmpty;
  }
  void bits(const MaskScope& scope, const MaskTile& tile,
            std::span<std::uint64_t> words) const override {
    const std::int64_t first = scope.first_position + tile.first_query;
    std::fill(words.begin(), words.end(), 0);
    for (std::int64_t p = first; p < first + tile.n_queries; p = block_end(p)) {
      const Row& blocks = row(scope, p);
      const std::uint64_t queries = bit_range(p - first, block_end(p) - first, tile.n_queries);
      for (std::int64_t k = 0; k < tile.n_keys;) {
        const std::int64_t key = tile.first_key + k;
        const std::int64_t end = std::min(tile.n_keys, block_end(key) - tile.first_key);
        const bool seen = key < n_extra() || blocks.sees(block(key));
        for (; k < end; ++k) words[static_cast<std::size_t>(k)] |= seen ? queries : 0;
      }
    }
  }
  std::string to_string() const override {
    std::string text = "bigbird(" + std::to_string(o_.block_size) + ", " +
                       std::to_string(o_.num_random_blocks) + ", " + std::to_string(o_.seed);
    if (is_etc()) text += ", layout=\"etc\", num_global_tokens=" + std::to_string(n_extra());
    return text + ")";
  }
  void check(const MaskScope& scope) const override {
    if (!scope.placement) return;
    fail("bigbird",
         "its blocks are counted from the start of one sequence. It does not go with "
         "packed or positions; use a batch with lengths.");
  }
  bool same_heads(std::int64_t a, std::int64_t b) const override {
    return a == b || o_.num_random_blocks == 0;
  }
  std::int64_t query_block() const override {
    return n_extra() % o_.block_size == 0 ? o_.block_size : 1;
  }

 private:
  bool is_etc() const { return o_.layout == mask::BigBirdLayout::kEtc; }
  std::int64_t n_extra() const { return is_etc() ? o_.num_global_tokens : 0; }
  // Blocks before the first have negative numbers: rows before the first key.
  std::int64_t block(std::int64_t position) const {
    const std::int64_t x = position - n_extra();
    return x / o_.block_size - (x % o_.block_size < 0 ? 1 : 0);
  }
  // The first position after p with another row: p's block ends, or the extra tokens do.
  std::int64_t block_end(std::int64_t p) const {
    if (p >= 0 && p < n_extra()) return n_extra();
    const std::int64_t end = (block(p) + 1) * o_.block_size + n_extra();
    return p < 0 ? std::min<std::int64_t>(0, end) : end;
  }

  // Drawing a row takes longer than asking it, and a planner asks the two rows of a tile some
  // eighty times: each thread keeps the last few.
  const Row& row(const MaskScope& scope, std::int64_t position) const {
    struct Known {
      std::int64_t rule = -1, head = 0, block = 0, n = 0;
      Row row;
    };
    thread_local std::array<Known, 4> known_rows;
    const std::int64_t len = scope.sequence_kv_len.value_or(scope.kv_len);
    const std::int64_t n =
        std::max<std::int64_t>(0, (len - n_extra() + o_.block_size - 1) / o_.block_size);
    const bool is_extra = position >= 0 && position < n_extra();
    const std::int64_t a = is_extra ? INT64_MIN : block(position);
    Known& known = known_rows[static_cast<std::size_t>(a & 3)];
    if (known.rule != id_ || known.head != scope.head || known.block != a || known.n != n) {
      known = {id_, scope.head, a, n, draw(scope.head, a, n)};
      known.row.all |= is_extra;
    }
    return known.row;
  }
  Row draw(std::int64_t head, std::int64_t a, std::int64_t n) const {
    Row row;
    row.all = !is_etc() && (a == 0 || a == n - 1);
    if (row.all) return row;
    const auto add = [&](std::int64_t b) {
      if (b >= 0 && b < n && std::find(row.begin(), row.end(), b) == row.end()) {
        row.blocks[row.n++] = b;
      }
    };
    if (!is_etc()) add(0), add(n - 1);
    if (a >= 0 && a < n) {
      for (std::int64_t b = a - 1; b <= a + 1; ++b) add(b);
      row.sort();
      add_random(head, a, n, row);
    }
    row.sort();
    return row;
  }

  // Different blocks among those not yet seen, by Floyd's way of drawing without repeats.
  void add_random(std::int64_t head, std::int64_t a, std::int64_t n, Row& row) const {
    const std::size_t n_known = row.n;
    const std::int64_t m = n - static_cast<std::int64_t>(n_known);
    std::array<std::int64_t, kMaxRandom> drawn;  // NOLINT: written before it is read
    std::size_t n_drawn = 0;
    const std::uint64_t key =
        mix(mix(static_cast<std::uint64_t>(o_.seed)) ^ static_cast<std::uint64_t>(head)) ^
        static_cast<std::uint64_t>(a);
    for (std::int64_t j = std::max<std::int64_t>(0, m - o_.num_random_blocks); j < m; ++j) {
      const std::uint64_t random = mix(mix(key) + static_cast<std::uint64_t>(j));
      auto draw = static_cast<std::int64_t>(random % static_cast<std::uint64_t>(j + 1));
      const auto end = drawn.begin() + static_cast<std::ptrdiff_t>(n_drawn);
      if (std::find(drawn.begin(), end, draw) != end) draw = j;
      drawn[n_drawn++] = draw;
    }
    for (std::size_t i = 0; i < n_drawn; ++i) {
      std::int64_t block = drawn[i];  // counted among the blocks not yet seen
      for (std::size_t known = 0; known < n_known; ++known) block += row.blocks[known] <= block;
      row.blocks[row.n++] = block;
    }
  }

  static std::int64_t next_id() {
    static std::atomic<std::int64_t> n{0};
    return n++;
  }

  mask::BigBirdOptions o_;
  std::int64_t id_ = next_id();
};

}  // namespace

Mask parse_bigbird(RuleArguments& args) {
  mask::BigBirdOptions options;
  options.block_size = args.integer(0, "block_size");
  options.num_random_blocks = args.integer(1, "num_random_blocks");
  options.seed = args.integer(2, "seed");
  if (args.choice(3, "layout", {"itc", "etc"}) == 1) {
    options.layout = mask::BigBirdLayout::kEtc;
    options.num_global_tokens = args.integer(4, "num_global_tokens");
  }
  return mask::bigbird(options);
}

}  // namespace mask_detail

Mask mask::bigbird(const BigBirdOptions& options) {
  const auto check_number = [](const char* name, std::int64_t value, std::int64_t least,
                               std::int64_t most) {
    mask_detail::check_number("bigbird", name, value, {least, most});
  };
  check_number("block_size", options.block_size, 1, std::int64_t{1} << 32);
  check_number("num_random_blocks", options.num_random_blocks, 0, mask_detail::kMaxRandom);
  if (options.layout == BigBirdLayout::kEtc) {
    check_number("num_global_tokens", options.num_global_tokens, 0, std::int64_t{1} << 32);
  } else if (options.num_global_tokens != 0) {
    mask_detail::fail("bigbird", "num_global_tokens is " +
                                     std::to_string(options.num_global_tokens) +
                                     ", but the layout is itc, whose first and last block are "
                                     "global. Only layout etc has tokens in front.");
  }
  return Mask(std::make_shared<mask_detail::BigBird>(options));
}

Mask mask::bigbird(std::int64_t block_size, std::int64_t num_random_blocks, std::int64_t seed) {
  BigBirdOptions options;
  options.block_size = block_size;
  options.num_random_blocks = num_random_blocks;
  options.seed = seed;
  return bigbird(options);
}

}  // namespace raptly
