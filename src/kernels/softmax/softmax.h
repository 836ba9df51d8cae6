// Softmax over a row of logits, for sampling: p[i] = exp((x[i] - max x) * inverse_temperature) /
// sum. Source: the textbook.
#pragma once

#include <cstdint>

#include "raptly/execution.h"

namespace raptly {

// n >= 1 f32; p may be x. inverse_temperature > 0. The sum has 16 partial sums by i mod 16 over
// blocks of 1,024, joined by a fixed tree and added over the blocks in f64: the same bits on every
// level. Relative error of p at most 1e-6 where p is above 1e-37; x = -inf gives exactly 0, a NaN
// anywhere gives NaN everywhere. Returns the largest p.
float softmax(const float* x, std::int64_t n, float inverse_temperature, float* p,
              Isa isa) noexcept;

}  // namespace raptly
