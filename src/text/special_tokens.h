// Finds control and user-defined tokens in a text: leftmost first, of those the longest.
#pragma once

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "raptly/tokenizer.h"

namespace raptly {

class SpecialTokenFinder {
 public:
  // The longest token that add() takes: a search may look at so many bytes at every position.
  static constexpr std::size_t kMaxLength = 1024;

  SpecialTokenFinder();
  // `text` has 1 .. kMaxLength bytes. `control`: found only where find() is asked for control
  // tokens.
  void add(std::string_view text, TokenId id, bool control);

  struct Found {
    std::size_t begin = 0;
    std::size_t end = 0;
    TokenId id = -1;  // -1: none
  };
  // The first one that begins at `from` or later.
  Found find(std::string_view text, std::size_t from, bool with_control) const noexcept;
  TokenId find_exact(std::string_view text) const noexcept;  // -1: none

 private:
  struct Node {
    TokenId id = -1;  // of the token that ends here
    bool control = false;
  };
  std::uint32_t step(std::uint32_t node, char byte) const noexcept;  // 0: no way on

  std::vector<Node> nodes_;                                 // a trie; 0 is the root
  std::unordered_map<std::uint64_t, std::uint32_t> edges_;  // node << 8 | byte
  std::bitset<256> first_user_, first_any_;                 // bytes that a token begins with
};

}  // namespace raptly
