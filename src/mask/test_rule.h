// What the test of one rule asks: its picture, and the one line that a mistake gets.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <string>

#include "mask/predicate.h"
#include "raptly/error.h"

namespace raptly::mask_testing {

// One word a query, one character a key: '1' seen, '.' not. On the way every tile of the scope must
// answer what its pairs say, and give their bits.
inline std::string picture(const Mask& mask, std::int64_t q_len, std::int64_t kv_len,
                           std::int64_t batch = 0, std::int64_t head = 0) {
  const MaskScope scope = bottom_right_scope(q_len, kv_len, batch, head);
  const MaskPredicate sees(mask, scope);
  std::string drawn;
  for (std::int64_t i = 0; i < q_len; ++i) {
    if (i > 0) drawn += ' ';
    for (std::int64_t j = 0; j < kv_len; ++j) drawn += sees(i, j) ? '1' : '.';
  }
  if (!mask.rule()) return drawn;
  const MaskScope placed = mask_detail::place_mask(mask, scope);
  const auto check = [&](const mask_detail::MaskTile& tile) {
    std::array<std::uint64_t, 64> words{};
    mask.rule()->bits(placed, tile, std::span(words).first(static_cast<std::size_t>(tile.n_keys)));
    std::int64_t n_seen = 0;
    for (std::int64_t k = 0; k < tile.n_keys; ++k) {
      for (std::int64_t i = 0; i < tile.n_queries; ++i) {
        const bool seen = sees(tile.first_query + i, tile.first_key + k);
        EXPECT_EQ(words[static_cast<std::size_t>(k)] >> i & 1, seen ? 1u : 0u);
        n_seen += seen;
      }
    }
    const mask_detail::TileAnswer answer = mask.rule()->answer(placed, tile);
    const std::int64_t n_pairs = tile.n_queries * tile.n_keys;
    EXPECT_TRUE(answer != mask_detail::TileAnswer::kEmpty || n_seen == 0);
    EXPECT_TRUE(answer != mask_detail::TileAnswer::kFull || n_seen == n_pairs);
  };
  for (std::int64_t i = 0; i < q_len; ++i) {
    for (std::int64_t j = 0; j < kv_len; ++j) {
      for (std::int64_t m = 1; m <= q_len - i; ++m) {
        for (std::int64_t n = 1; n <= kv_len - j; ++n) check({i, m, j, n});
      }
    }
  }
  return drawn;
}

// The message of the kInvalidArgument that f() throws.
template <class F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    return error.what();
  }
  return "no error";
}

}  // namespace raptly::mask_testing
