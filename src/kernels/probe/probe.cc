#include "kernels/probe/probe.h"

#include <algorithm>
#include <chrono>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/probe/probe.cc"
#include "kernels/simd/targets.h"

#include "hwy/foreach_target.h"
#include "kernels/probe/probe-inl.h"

#if HWY_ONCE
#include "kernels/simd/dispatch.h"

namespace raptly {
namespace scalar {  // probe_scalar.cc
double fma_burst(std::int64_t n, float* sink);
float read_bytes(const float* p, std::int64_t n);
}  // namespace scalar

namespace bf16_leaf {  // probe_avx512bf16.cc
double dot_burst(std::int64_t n, float* sink) noexcept;
}  // namespace bf16_leaf

namespace {

// The best of a few bursts of n steps.
template <class Burst>
double best_gflops(Burst&& burst, std::int64_t n) {
  using Clock = std::chrono::steady_clock;
  volatile float start = 1e-3f;  // the compiler must not know the values
  float sink[11];
  std::fill_n(sink, 11, start);
  double best = 0;
  for (int repeat = 0; repeat < 6; ++repeat) {
    const auto begin = Clock::now();
    const double flops = burst(n, sink);
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    best = std::max(best, flops / seconds / 1e9);
  }
  start = sink[0];
  return best;
}

}  // namespace

double fma_peak_gflops(Isa isa) noexcept {
  return best_gflops(RAPTLY_DISPATCH(isa, fma_burst), isa == Isa::kScalar ? 2000 : 400000);
}

double bf16_dot_peak_gflops(Isa isa) noexcept {
#if defined(__x86_64__)
  if (isa == Isa::kAvx512Bf16) return best_gflops(bf16_leaf::dot_burst, 400000);
#endif
  (void)isa;
  return 0;
}

float read_memory(const std::byte* data, std::size_t n, Isa isa) noexcept {
  return RAPTLY_DISPATCH(isa, read_bytes)(reinterpret_cast<const float*>(data),
                                          static_cast<std::int64_t>(n / 4));
}

}  // namespace raptly
#endif
