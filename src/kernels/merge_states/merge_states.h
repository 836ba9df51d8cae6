// The merge of partial attention results, row by row. With states (o_i, lse_i), natural log:
//
//   M = max lse_i    w_i = e^(lse_i - M)    W = sum w_i    out = sum (w_i / W) o_i    lse = M + ln
//   W
//
// A state with lse -inf has w = 0 and its o is not read; where all are -inf, out is 0 and lse -inf.
// Sources: FlashInfer's state merge (arXiv:2501.01005); Milakov & Gimelshein, arXiv:1805.02867.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "raptly/dtype.h"
#include "raptly/execution.h"

namespace raptly {

struct MergeStrides {
  std::int64_t token = 0, head = 0, dim = 1;
};

// One partial result of a batch entry, through the strides of the tensor it lies in.
struct MergeSource {
  const void* out = nullptr;   // [q_len, n_heads, v_dim]
  const float* lse = nullptr;  // [q_len, n_heads] by token and head
  MergeStrides out_strides, lse_strides;
};

// Queries [query_begin, query_end) of one batch entry, all heads.
struct MergeItem {
  std::span<const MergeSource> states;
  DType dtype = DType::kF32;  // of the states: f32, f16 or bf16
  void* out = nullptr;        // may be the memory of a state, through the same strides
  float* lse = nullptr;       // the same; null: not wanted
  DType out_dtype = DType::kF32;
  MergeStrides out_strides, lse_strides;
  std::int64_t query_begin = 0, query_end = 0;
  std::int64_t n_heads = 0, v_dim = 0;
};

// Floats of scratch that one thread needs.
std::size_t merge_states_workspace_floats(std::size_t n_states, std::int64_t n_heads);

// f32 arithmetic: w by the polynomial of softmax_state, the sums as chains over the states in
// order, ln W by a series of its own. The same bits on every level; a row depends on its own states
// only.
void merge_state_rows(const MergeItem& item, float* workspace, Isa isa) noexcept;

}  // namespace raptly
