// Statistics of attention weights from a second pass over q and k, with the lse of the first: in
// O(rows) memory, never the weights themselves. With s the score of a pair (scale, softcap, mask)
// and p = e^(s - lse) its weight:
//
//   entropy[row]   = sum over keys of p (lse - s)
//   max[row]       = the largest s; -inf for a row that sees nothing
//   top[row]       = the top_k largest weights, descending, equal ones by key; then -1 and 0
//   column_mass[key] = sum over queries of p
//
// Scores have the bits of flash_forward at levels of f32; p within |lse| 2^-23 of its value. The
// same results on every level and for any cut into items.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/flash_forward/flash_forward.h"

namespace raptly {

// Rows of some tiles, as of flash_forward: of `rows` q, kv.k, tiles and lse, which is read, are
// used; v_dim is 0. Outputs that are null are not wanted.
struct RowStatisticsItem {
  FlashForwardItem rows;
  float* entropy = nullptr;  // [n_heads, q_len]
  std::int64_t entropy_head_stride = 0, entropy_token_stride = 1;
  float* max = nullptr;  // [n_heads, q_len]
  std::int64_t max_head_stride = 0, max_token_stride = 1;
  int top_k = 0;
  std::int64_t* top_index = nullptr;  // [n_heads, q_len, top_k], dense
  float* top_weight = nullptr;        // the same
  std::int64_t q_len = 0;
};

// All queries of one head for the keys [first_key, first_key + n_keys) of one split. rows.group is
// 1, rows.tiles all tiles of a plan whose tiles start at multiples of kMassTileQueries.
constexpr int kMassTileQueries = 48;
struct ColumnMassItem {
  FlashForwardItem rows;
  std::int64_t first_key = 0, n_keys = 0;
  float* mass = nullptr;  // [n_heads, kv_len]
  std::int64_t mass_head_stride = 0, mass_key_stride = 1;
};

// Bytes that one thread needs for either, 64-byte aligned; size.v_dim is 0.
std::size_t row_statistics_workspace_bytes(const FlashForwardSize& size, Isa isa);
void row_statistics(const RowStatisticsItem& item, std::byte* workspace, Isa isa) noexcept;
void column_mass(const ColumnMassItem& item, std::byte* workspace, Isa isa) noexcept;

}  // namespace raptly
