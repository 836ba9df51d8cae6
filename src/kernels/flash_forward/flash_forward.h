// Forward attention kernels. Two drivers give the same bits for the same row (docs/numerics.md):
//   prefill  lane = query: S^T = K Q^T, vertical softmax, O^T += V P^T.
//            Query heads of a group are more lanes: lane = query * group + head.
//   decode   lane = key for scores, lane = d for outputs: for at most kMaxDecodeRows rows,
//            one split of 1024 keys at a time, so that splits can go to different threads.
// Per row: s = scale * q k, softcap, + bias, mask, softmax with the sink in the denominator, times
// v (DESIGN 5, 6). Sources: arXiv:2205.14135, 2307.08691; Milakov & Gimelshein, arXiv:1805.02867.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "mask/bias_terms.h"
#include "mask/tile_plan.h"
#include "raptly/execution.h"
#include "raptly/kv_view.h"

namespace raptly {

constexpr int kMaxDecodeRows = 16;

// Softmax states of rows as f32 (docs/attention_state.md): the row of a query and head, at `at` +
// query * query_stride + head * head_stride, holds m, l and, from 16 on, o [v_dim].
struct RowStates {
  float* at = nullptr;  // null: none
  std::int64_t query_stride = 0, head_stride = 0;
};
constexpr std::size_t row_state_floats(std::int64_t v_dim) {
  return static_cast<std::size_t>(16 + (v_dim + 15) / 16 * 16);
}

// One unit of work: some query tiles of one sequence, for all `group` query heads of one key head.
// Pointers and strides are those of the sequence; heads [first_head, first_head + group) are
// computed against key head kv_head.
struct FlashForwardItem {
  std::span<const QueryTile> tiles;  // of a TilePlan
  std::int64_t first_head = 0;
  std::int64_t kv_head = 0;
  int group = 1;
  int head_dim = 0;                 // 1 .. 1024
  int v_dim = 0;                    // 1 .. 1024
  double scale = 1;                 // kernels round it to f32
  float softcap = 0;                // 0: none
  const ScoreBias* bias = nullptr;  // added after the softcap; null: none
  const float* sinks = nullptr;     // [n_heads], natural log; -inf or null: none

  const void* q = nullptr;  // [q_len, n_heads, head_dim]
  DType q_dtype = DType::kF32;
  std::int64_t q_token_stride = 0, q_head_stride = 0, q_dim_stride = 1;
  void* out = nullptr;  // [q_len, n_heads, v_dim]
  DType out_dtype = DType::kF32;
  std::int64_t out_token_stride = 0, out_head_stride = 0, out_dim_stride = 1;
  float* lse = nullptr;  // [n_heads, q_len]; may be null
  std::int64_t lse_head_stride = 0, lse_token_stride = 1;
  const KvView* kv = nullptr;
  // Where a row starts: its state after splits that lie before those of the tiles. And where its
  // state goes instead of out and lse.
  RowStates initial, final;
};

// The level whose arithmetic an item gets: avx512_bf16 takes bf16 queries with bf16 keys and
// values; other dtypes, and amx until it has kernels of its own, run at avx512. Below, the same for
// isa.
Isa flash_forward_level(Isa isa, DType q_dtype, DType kv_dtype);

// Queries a tile of the plan should have: as many as fill the kernel's panel of lanes.
int flash_forward_tile_queries(int group, Isa isa);

// What the workspace is sized for: any item with at most so many tiles, of at most so many queries,
// and kv_len keys.
struct FlashForwardSize {
  std::int64_t max_tiles = 0;
  int tile_queries = 0;
  int group = 1;
  std::int64_t kv_len = 0;
  int head_dim = 0, v_dim = 0;
};
// Bytes that one thread needs, 64-byte aligned. Nothing in it survives a call.
std::size_t flash_forward_workspace_bytes(const FlashForwardSize& size, Isa isa);
void flash_forward(const FlashForwardItem& item, std::byte* workspace, Isa isa) noexcept;

// Decode: the item has one tile, rows = queries * group <= kMaxDecodeRows. Each split writes its
// state; the merge, in order of the splits, writes out and lse. A split in which no row sees a key
// leaves an empty state.
std::size_t flash_decode_state_floats(int rows, int v_dim);  // of one split
std::size_t flash_decode_workspace_bytes(const FlashForwardSize& size, Isa isa);
void flash_decode_split(const FlashForwardItem& item, std::int64_t split, float* state,
                        std::byte* workspace, Isa isa) noexcept;
struct DecodeStates {
  const float* first = nullptr;
  std::int64_t n = 0;
  std::int64_t stride = 0;  // floats from one state to the next
};
void flash_decode_merge(const FlashForwardItem& item, const DecodeStates& states,
                        std::byte* workspace, Isa isa) noexcept;

}  // namespace raptly
