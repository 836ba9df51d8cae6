#if defined(RAPTLY_PROBE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RAPTLY_PROBE_INL_H
#undef RAPTLY_PROBE_INL_H
#else
#define RAPTLY_PROBE_INL_H
#endif

#include "kernels/simd/vec-inl.h"
#if RAPTLY_TARGET_ENABLED
RAPTLY_BEFORE_TARGET();
namespace raptly {
namespace RAPTLY_TARGET {

constexpr int kChains = 10;  // more than 2 FMA a cycle times 4 cycles of latency

// n steps of kChains independent FMA; returns the flops done.
double fma_burst(std::int64_t n, float* sink) {
  Vf sum[kChains];
  each<kChains>([&](auto j) RAPTLY_LAMBDA { sum[j] = set(sink[j]); });
  const Vf b = set(0.999f), c = set(sink[kChains]);
  for (std::int64_t i = 0; i < n; ++i) {
    each<kChains>([&](auto j) RAPTLY_LAMBDA { sum[j] = fma(sum[j], b, c); });
  }
  each<kChains>([&](auto j) RAPTLY_LAMBDA { sink[j] = first_lane(sum[j]); });
  return 2.0 * static_cast<double>(n) * kChains * kLanes;
}

float read_bytes(const float* p, std::int64_t n) {
  Vf sum[4] = {zero(), zero(), zero(), zero()};
  for (std::int64_t i = 0; i + 64 <= n; i += 64) {
    __builtin_prefetch(p + i + 1024, 0, 2);
    __builtin_prefetch(p + i + 1040, 0, 2);
    __builtin_prefetch(p + i + 1056, 0, 2);
    __builtin_prefetch(p + i + 1072, 0, 2);
    for (int k = 0; k < 64; k += 4 * kLanes) {
      each<4>([&](auto j) RAPTLY_LAMBDA { sum[j] = add(sum[j], load(p + i + k + j * kLanes)); });
    }
  }
  return first_lane(add(add(sum[0], sum[1]), add(sum[2], sum[3])));
}

}  // namespace RAPTLY_TARGET
}  // namespace raptly
RAPTLY_AFTER_TARGET();
#endif
#endif
