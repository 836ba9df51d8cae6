// Byte-pair encoding of one word: of all adjacent pairs that are in the merge table the one of
// lowest rank, leftmost of equals, becomes one token, until no pair is left. Source: Sennrich et
// al., arXiv:1508.07909.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "raptly/tokenizer.h"

namespace raptly {

class MergeTable {
 public:
  explicit MergeTable(std::size_t n_merges = 0);

  static constexpr std::uint64_t kNone = ~std::uint64_t{0};
  // False: the pair is in the table already. At most n_merges may be added.
  bool add(TokenId left, TokenId right, std::uint32_t rank, TokenId merged);
  // rank << 32 | merged, or kNone.
  std::uint64_t find(TokenId left, TokenId right) const noexcept;

  struct Scratch {
    std::vector<std::uint64_t> pairs;
    std::vector<std::uint64_t> heap;
    std::vector<std::uint32_t> next, previous;
  };
  // Merges `tokens` in place. Time O(n log n). At most 2^31 tokens.
  void merge(std::vector<TokenId>& tokens, Scratch& scratch) const;

 private:
  struct Slot {
    std::uint64_t key = kNone;
    std::uint64_t value = kNone;
  };
  void merge_short(std::vector<TokenId>& tokens, Scratch& scratch) const;
  void merge_long(std::vector<TokenId>& tokens, Scratch& scratch) const;

  std::vector<Slot> slots_;  // open addressing, a power of two, at most half full
};

}  // namespace raptly
