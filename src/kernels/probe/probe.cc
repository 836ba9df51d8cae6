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

double fma_peak_gflops(Isa isa) noexcept {
  using Clock = std::chrono::steady_clock;
  const auto burst = RAPTLY_DISPATCH(isa, fma_burst);
  volatile float start = 1e-3f;  // the compiler must not know the values
  float sink[11];
  std::fill_n(sink, 11, start);
  const std::int64_t n = isa == Isa::kScalar ? 2000 : 400000;
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

float read_memory(const std::byte* data, std::size_t n, Isa isa) noexcept {
  return RAPTLY_DISPATCH(isa, read_bytes)(reinterpret_cast<const float*>(data),
                                          static_cast<std::int64_t>(n / 4));
}

}  // namespace raptly
#endif
