// From the bytes of a token to its id.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "raptly/tokenizer.h"

namespace raptly {

// Keeps all bytes in one block: 150,000 strings of their own would cost 8 MB and twice the time to
// load.
class TokenIndex {
 public:
  // `bytes` of token 0, 1, ... in turn.
  void push_back(std::string_view bytes);
  // Builds the table over the tokens of `ids`. A later token with the same bytes as an earlier one:
  // returned as {earlier, later}; otherwise {-1, -1}.
  std::pair<TokenId, TokenId> build(const std::vector<TokenId>& ids);

  std::string_view bytes(TokenId id) const noexcept;
  TokenId find(std::string_view bytes) const noexcept;  // -1: none

 private:
  struct Slot {
    std::uint32_t hash = 0;
    TokenId id = -1;
  };
  std::string block_;
  std::vector<std::size_t> starts_ = {0};
  std::vector<Slot> slots_;  // open addressing, a power of two, at most half full
};

}  // namespace raptly
