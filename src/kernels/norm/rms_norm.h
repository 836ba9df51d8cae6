// RMSNorm: y[r, i] = x[r, i] / sqrt(mean over i of x[r, i]^2 + eps) * weight[i].
// Source: Zhang & Sennrich, arXiv:1910.07467.
#pragma once

#include <cstdint>

#include "raptly/execution.h"

namespace raptly {

// Row strides in elements; y may be x.
struct RmsNormRows {
  const float* x = nullptr;  // [n_rows, n]
  std::int64_t x_stride = 0;
  float* y = nullptr;  // [n_rows, n]
  std::int64_t y_stride = 0;
  std::int64_t n_rows = 0, n = 0;
};
// weight [n]. The sum of squares has 16 partial sums by i mod 16, ascending FMA chains, joined by a
// fixed tree: the same bits on every level. The mean, eps and square root are f64, rounded once to
// f32.
void rms_norm(const RmsNormRows& rows, const float* weight, double eps, Isa isa) noexcept;

}  // namespace raptly
