// What the backward kernels read and write: one sequence, some query heads of one key head.
// Formulas: raptly/backward.h.
#pragma once

#include <cstdint>

#include "kernels/flash_forward/flash_forward.h"

namespace raptly {

// Rows [tokens, heads, dim] of one sequence; null: not there.
struct GradientRows {
  void* at = nullptr;
  DType dtype = DType::kF32;
  std::int64_t token_stride = 0, head_stride = 0, dim_stride = 1;
};
struct InputRows {
  const void* at = nullptr;
  DType dtype = DType::kF32;
  std::int64_t token_stride = 0, head_stride = 0, dim_stride = 1;
};

// Where the gradient of a pair's bias is added; strides are 0 along what shares an element.
//   kDistance  head * head_stride
//   kOffset    head * head_stride + entry * key_stride, entry = entry_of[offset + reach], or
//              offset + reach where entry_of is null; offset within -reach .. reach
//   kDense     head * head_stride + query * query_stride + key * key_stride
struct BiasGradient {
  void* at = nullptr;
  DType dtype = DType::kF32;
  std::int64_t head_stride = 0, query_stride = 0, key_stride = 0;
  const std::int32_t* entry_of = nullptr;
};

struct FlashBackwardItem {
  // q, kv (one run), heads, scale, softcap, bias and sinks as in the forward pass; out and lse are
  // what it gave, and read. tiles are not used.
  FlashForwardItem forward;
  InputRows dout;  // [q_len, n_heads, v_dim]
  InputRows dlse;  // [q_len, n_heads] (dim_stride is not used)
  GradientRows dq, dk, dv;
  BiasGradient dbias;
  GradientRows dsinks;  // [n_heads]: head_stride
  bool accumulate = false;
};

}  // namespace raptly
