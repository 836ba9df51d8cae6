// exp of a vector of floats with the same bits on every level.
//
// exp(x) = 2^n P(f), n = round(x log2 e), f = x log2 e - n from two FMAs (log2 e in two parts), P
// the degree 6 polynomial for 2^f on |f| <= 1/2. Relative error at most 1.0e-7 on [-87, 88]
// (measured over all floats there). Below -87 the result is 0, above 88 it stays at exp(88); NaN
// stays NaN.
#if defined(RAPTLY_EXP_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RAPTLY_EXP_INL_H
#undef RAPTLY_EXP_INL_H
#else
#define RAPTLY_EXP_INL_H
#endif

#include "kernels/simd/vec-inl.h"
#if RAPTLY_TARGET_ENABLED
RAPTLY_BEFORE_TARGET();
namespace raptly {
namespace RAPTLY_TARGET {

RAPTLY_INLINE Vf exp_lanes(Vf x) {
  constexpr float kLog2eHigh = 0x1.715476p+0f, kLog2eLow = 0x1.4ae0cp-26f;
  // 1.5 * 2^23 rounds to an integer in the low mantissa bits; + 127 makes them 2^n's exponent
  // field.
  const Vf magic = set(12582912.0f + 127.0f);
  const Vf clamped = max(set(-87.0f), min(set(88.0f), x));  // the constants first: NaN passes
  const Vf z = fma(clamped, set(kLog2eHigh), magic);
  const Vf n = sub(z, magic);
  const Vf f = fma(clamped, set(kLog2eLow), fma(clamped, set(kLog2eHigh), sub(zero(), n)));
  Vf p = set(0x1.41d334p-13f);
  p = fma(p, f, set(0x1.5f456ap-10f));
  p = fma(p, f, set(0x1.3b2dbcp-7f));
  p = fma(p, f, set(0x1.c6aed4p-5f));
  p = fma(p, f, set(0x1.ebfbdap-3f));
  p = fma(p, f, set(0x1.62e430p-1f));
  p = fma(p, f, set(1.0f));
  const Vf power = from_bits(shift_left<23>(bits_of(z)));
  return select(gt(set(-87.0f), x), zero(), mul(p, power));
}

}  // namespace RAPTLY_TARGET
}  // namespace raptly
RAPTLY_AFTER_TARGET();
#endif
#endif
