#if defined(RAPTLY_SWIGLU_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RAPTLY_SWIGLU_INL_H
#undef RAPTLY_SWIGLU_INL_H
#else
#define RAPTLY_SWIGLU_INL_H
#endif

#include "kernels/activation/exp-inl.h"
#if RAPTLY_TARGET_ENABLED
RAPTLY_BEFORE_TARGET();
namespace raptly {
namespace RAPTLY_TARGET {

RAPTLY_INLINE Vf swiglu_lanes(Vf gate, Vf up) {
  const Vf silu = div(gate, add(set(1.0f), exp_lanes(sub(zero(), gate))));
  return mul(silu, up);
}

void swiglu_row(const float* gate, const float* up, std::int64_t n, float* out) {
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(swiglu_lanes(load(gate + i), load(up + i)), out + i);
  if (i == n) return;
  alignas(64) float g[kLanes] = {}, u[kLanes] = {}, o[kLanes];
  const std::size_t rest = static_cast<std::size_t>(n - i) * sizeof(float);
  std::memcpy(g, gate + i, rest);
  std::memcpy(u, up + i, rest);
  store(swiglu_lanes(load(g), load(u)), o);
  std::memcpy(out + i, o, rest);
}

}  // namespace RAPTLY_TARGET
}  // namespace raptly
RAPTLY_AFTER_TARGET();
#endif
#endif
