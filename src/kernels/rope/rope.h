// Rotary position embedding: each pair (x1, x2) of a head is turned by the angle a of its position,
//   y1 = x1 cos a - x2 sin a,   y2 = x2 cos a + x1 sin a.
// Pairs are (i, i + rotary_dim / 2) in `half` style (Llama in HF files, NeoX, Qwen2) and (2i, 2i +
// 1) in `interleaved` style (GPT-J, Llama in GGUF files). Source: Su et al., arXiv:2104.09864.
#pragma once

#include <cstdint>

#include "raptly/execution.h"

namespace raptly {

enum class RopeStyle { kHalf, kInterleaved };

// n_rows rows (tokens) of n_heads adjacent heads of head_dim; the first rotary_dim values of each
// head are turned in place, the others stay. rotary_dim is even and at most head_dim.
struct RopeRows {
  float* x = nullptr;
  std::int64_t row_stride = 0;  // elements
  std::int64_t n_rows = 0;
  std::int64_t n_heads = 0;
  int head_dim = 0;
  int rotary_dim = 0;
  RopeStyle style = RopeStyle::kHalf;
};

// cos and sin: [n_rows, rotary_dim / 2] (rope_table makes them). Each product is rounded, then
// joined by one FMA: the same bits in both styles and on every level.
void rope(const RopeRows& rows, const float* cos, const float* sin, Isa isa) noexcept;

}  // namespace raptly
