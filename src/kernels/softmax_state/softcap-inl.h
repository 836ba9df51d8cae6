// Logit softcap: s -> c tanh(s / c), with the same bits on every level.
//
// tanh(x) = x + x^3 R(x^2) below |x| = 0.625, minimax of degree 4 (4.4e-9), else 1 - 2 / (2^(2 x
// log2 e) + 1) with the polynomial of pow2; relative error <= 2.3e-7 (2.24e-7 at 0.62516, the worst
// of all floats in 0.05 .. 12; softmax_state_test.cc).
#if defined(RAPTLY_SOFTCAP_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RAPTLY_SOFTCAP_INL_H
#undef RAPTLY_SOFTCAP_INL_H
#else
#define RAPTLY_SOFTCAP_INL_H
#endif

#include "kernels/softmax_state/softmax_state-inl.h"
#if RAPTLY_TARGET_ENABLED
RAPTLY_BEFORE_TARGET();
namespace raptly {
namespace RAPTLY_TARGET {

// NaN stays NaN: min returns its second operand.
RAPTLY_INLINE Vf tanh_lanes(Vf x) {
  const Vf magnitude = abs(x);
  const Vf u = mul(x, x);
  Vf r = set(-0x1.75e1cap-8f);
  r = fma(r, u, set(0x1.52269ap-6f));
  r = fma(r, u, set(-0x1.b83c5ap-5f));
  r = fma(r, u, set(0x1.110726p-3f));
  r = fma(r, u, set(-0x1.555532p-2f));
  const Vf near = fma(mul(magnitude, u), r, magnitude);

  const Vf power = pow2(min(set(40.0f), mul(magnitude, set(2.0f * kLog2E))), Pow2Base(zero()));
  const Vf far = sub(set(1.0f), div(set(2.0f), add(power, set(1.0f))));
  const Vf result = select(gt(set(0.625f), magnitude), near, far);
  return from_bits(bit_or(bits_of(result), bit_and(bits_of(x), set_bits(0x80000000u))));
}

// In the units of the scores (log2 e times natural), made from a natural softcap.
struct Softcap {
  float limit, inverse;
  explicit Softcap(float natural)
      : limit(natural * kLog2E), inverse(natural > 0 ? 1.0f / (natural * kLog2E) : 0.0f) {}
  bool given() const { return limit > 0; }
  RAPTLY_INLINE Vf operator()(Vf s) const {
    return mul(set(limit), tanh_lanes(mul(s, set(inverse))));
  }
};

}  // namespace RAPTLY_TARGET
}  // namespace raptly
RAPTLY_AFTER_TARGET();
#endif
#endif
