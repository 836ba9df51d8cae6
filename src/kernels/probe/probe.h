// What the machine can do, measured: the peak of f32 FMA at a level, and the read bandwidth of a
// buffer. Benchmarks state their results as shares of these, taken in the same process.
#pragma once

#include <cstddef>
#include <cstdint>

#include "raptly/execution.h"

namespace raptly {

// GFLOP/s of one thread (a fused multiply-add counts 2), the best of a few bursts of about 2 ms.
double fma_peak_gflops(Isa isa) noexcept;

// The same of vdpbf16ps (a pair of products counts 4); 0 below the level avx512_bf16.
double bf16_dot_peak_gflops(Isa isa) noexcept;

// Reads n bytes once (64-byte aligned); returns a value that depends on all of them.
float read_memory(const std::byte* data, std::size_t n, Isa isa) noexcept;

}  // namespace raptly
