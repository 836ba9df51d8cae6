// blocks(block_size, lists): query block a sees the key blocks lists[a]. Query i is in block i /
// block_size, key j in block j / block_size, whatever their positions. One set of lists for all
// heads, or one for each. An empty list sees nothing. FlexAttention's BlockMask, whose partial
// blocks ask a rule, is blocks(size, full) | blocks(size, partial) & rule.
#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "mask/per_batch.h"
#include "raptly/mask.h"

namespace raptly {
namespace mask_detail {
namespace {

class Blocks final : public Rule {
 public:
  Blocks(std::int64_t size, std::vector<BlockList> heads) : size_(size), heads_(std::move(heads)) {}

  bool sees(const MaskScope& scope, std::int64_t query, std::int64_t key) const override {
    const std::vector<std::int64_t>& list = lists(scope)[block(query)];
    return std::binary_search(list.begin(), list.end(), key / size_);
  }
  TileAnswer answer(const MaskScope& scope, const MaskTile& tile) const override {
    const Range keys{tile.first_key / size_, tile.last_key() / size_};
    bool any = false, all = true;
    for (std::size_t a = block(tile.first_query); a <= block(tile.last_query()); ++a) {
      const std::vector<std::int64_t>& list = lists(scope)[a];
      const auto n = std::upper_bound(list.begin(), list.end(), keys.most) -
                     std::lower_bound(list.begin(), list.end(), keys.least);
      any |= n > 0;
      all &= n == keys.most - keys.least + 1;
      if (any && !all) return TileAnswer::kPartial;
    }
    return all ? TileAnswer::kFull : TileAnswer::kEmpty;
  }
  void bits(const MaskScope& scope, const MaskTile& tile,
            std::span<std::uint64_t> words) const override {
    std::fill(words.begin(), words.end(), 0);
    for (std::size_t a = block(tile.first_query); a <= block(tile.last_query()); ++a) {
      const std::int64_t begin = static_cast<std::int64_t>(a) * size_ - tile.first_query;
      const std::uint64_t queries = bit_range(begin, begin + size_, tile.n_queries);
      const std::vector<std::int64_t>& list = lists(scope)[a];
      auto at = std::lower_bound(list.begin(), list.end(), tile.first_key / size_);
      for (; at != list.end() && *at * size_ <= tile.last_key(); ++at) {
        const std::int64_t from = std::max<std::int64_t>(0, *at * size_ - tile.first_key);
        const std::int64_t to = std::min(tile.n_keys, (*at + 1) * size_ - tile.first_key);
        for (std::int64_t k = from; k < to; ++k) words[static_cast<std::size_t>(k)] |= queries;
      }
    }
  }
  std::string to_string() const override {
    std::string text = "blocks(" + std::to_string(size_) + ", ";
    if (heads_.size() == 1) return text + list_text(heads_.front()) + ")";
    for (std::size_t h = 0; h < heads_.size(); ++h) {
      text += (h == 0 ? "[" : ", ") + list_text(heads_[h]);
    }
    return text + "])";
  }
  void check(const MaskScope& scope) const override {
    check_head("blocks", n_heads(), scope);
    const std::int64_t n_q = (scope.q_len + size_ - 1) / size_;
    const std::int64_t n_kv = (scope.kv_len + size_ - 1) / size_;
    const BlockList& rows = lists(scope);
    check_size("blocks", "lists", static_cast<std::int64_t>(rows.size()),
               "the number of query blocks", n_q);
    for (std::size_t a = 0; a < rows.size(); ++a) {
      if (rows[a].empty() || rows[a].back() < n_kv) continue;
      fail("blocks", "lists[" + std::to_string(a) + "] holds key block " +
                         std::to_string(rows[a].back()) + ", but kv_len " +
                         std::to_string(scope.kv_len) + " has " + std::to_string(n_kv) +
                         " blocks of " + std::to_string(size_) + ".");
    }
  }
  std::int64_t n_heads() const override {
    return heads_.size() == 1 ? 0 : static_cast<std::int64_t>(heads_.size());
  }
  bool same_heads(std::int64_t a, std::int64_t b) const override {
    return heads_.size() == 1 ||
           heads_[static_cast<std::size_t>(a)] == heads_[static_cast<std::size_t>(b)];
  }
  std::int64_t query_block() const override { return size_; }

 private:
  std::size_t block(std::int64_t query) const { return static_cast<std::size_t>(query / size_); }
  const BlockList& lists(const MaskScope& scope) const {
    return heads_[heads_.size() == 1 ? 0 : static_cast<std::size_t>(scope.head)];
  }

  std::int64_t size_;
  std::vector<BlockList> heads_;  // one, or one for each head; every list ascending
};

void sort_and_check(std::vector<BlockList>& heads) {
  for (BlockList& lists : heads) {
    for (std::size_t a = 0; a < lists.size(); ++a) {
      std::vector<std::int64_t>& list = lists[a];
      std::sort(list.begin(), list.end());
      const auto twice = std::adjacent_find(list.begin(), list.end());
      if (twice != list.end()) {
        fail("blocks", "lists[" + std::to_string(a) + "] holds key block " +
                           std::to_string(*twice) + " twice. Each may be listed once.");
      }
      if (!list.empty() && (list.front() < 0 || list.back() > kMaxPosition)) {
        fail("blocks", "lists[" + std::to_string(a) + "] holds key block " +
                           std::to_string(list.front() < 0 ? list.front() : list.back()) +
                           ". Blocks count from 0.");
      }
    }
  }
}

}  // namespace

Mask parse_blocks(RuleArguments& args) {
  const std::int64_t size = args.integer(0, "block_size");
  return mask::blocks(size, args.block_lists(1, "lists"));
}

}  // namespace mask_detail

Mask mask::blocks(std::int64_t block_size, std::vector<BlockList> lists_of_heads) {
  using mask_detail::fail;
  if (block_size < 1 || block_size > mask_detail::kMaxPosition) {
    fail("blocks", "block_size is " + std::to_string(block_size) + ". It must be 1 .. 2^48.");
  }
  if (lists_of_heads.empty()) fail("blocks", "lists is for 0 heads. Give lists for 1 or more.");
  mask_detail::sort_and_check(lists_of_heads);
  return Mask(std::make_shared<mask_detail::Blocks>(block_size, std::move(lists_of_heads)));
}

Mask mask::blocks(std::int64_t block_size, BlockList lists) {
  std::vector<BlockList> heads;
  heads.push_back(std::move(lists));
  return blocks(block_size, std::move(heads));
}

Mask mask::blocks(std::int64_t block_size, std::vector<BlockList> full,
                  std::vector<BlockList> partial, const Mask& inside) {
  return blocks(block_size, std::move(full)) | (blocks(block_size, std::move(partial)) & inside);
}

}  // namespace raptly
