// Rows of numbers between f32 and 16-bit storage, rounded to nearest even (raptly/dtype.h).
#pragma once

#include <cstdint>

#include "raptly/dtype.h"

namespace raptly {

// n adjacent elements. Not affected by flush-to-zero modes: subnormal f16 stay.
void narrow(const float* in, std::int64_t n, float* out) noexcept;
void narrow(const float* in, std::int64_t n, F16* out) noexcept;
void narrow(const float* in, std::int64_t n, Bf16* out) noexcept;

}  // namespace raptly
