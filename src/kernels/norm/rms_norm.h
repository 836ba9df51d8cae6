// RMSNorm: y[r, i] = x[r, i] / sqrt(mean over i of x[r, i]^2 + eps) * weight[i].
// Source: Zhang & Sennrich, arXiv:1910.07467.
#pragma once

#include <cstdint>

#include "raptly/execution.h"

namespace raptly {

// rows x n f32; x and y row strides in elements; y may be x. The sum of squares has 16 partial sums
// by i mod 16, ascending FMA chains, joined by a fixed tree: the same bits on every level. The
// mean, eps and square root are f64, rounded once to f32.
void rms_norm(const float* x, std::int64_t x_stride, const float* weight, double eps,
              std::int64_t rows, std::int64_t n, float* y, std::int64_t y_stride, Isa isa) noexcept;

}  // namespace raptly
