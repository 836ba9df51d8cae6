// The algebra of softmax: state (m, l, o) of a row over some keys, in log2 units.
//
//   out = sum 2^(s_k - m) v_k / l,  l = sum 2^(s_k - m),  s_k = log2(e) * score
//
// m is an even integer, so 2^(a - b) between two states is a power of two and every rescale is
// exact: when and how often a driver rescales does not show in the result (README.md).
#if defined(RAPTLY_SOFTMAX_STATE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RAPTLY_SOFTMAX_STATE_INL_H
#undef RAPTLY_SOFTMAX_STATE_INL_H
#else
#define RAPTLY_SOFTMAX_STATE_INL_H
#endif

#include <limits>

#include "kernels/simd/vec-inl.h"
#if RAPTLY_TARGET_ENABLED
RAPTLY_BEFORE_TARGET();
namespace raptly {
namespace RAPTLY_TARGET {

constexpr float kLog2E = 1.44269504f;
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
// Scores beyond +- (2^22 - 256) count as that; -kScoreLimit is also m of a row that saw nothing.
constexpr float kScoreLimit = 4194048.0f;
constexpr float kRescaleThreshold = 8.0f;
// 1.5 * 2^23: adding it leaves an integer in the low mantissa bits; + 127 makes it an exponent
// field.
constexpr float kExponentMagic = 12582912.0f + 127.0f;

// 2^n of the integer whose exponent field is in the low bits of z.
RAPTLY_INLINE Vf exponent(Vf z) { return from_bits(shift_left<23>(bits_of(z))); }

// 2^x for an integer x <= 127; 0 below -126.
RAPTLY_INLINE Vf pow2_integer(Vf x) {
  return exponent(add(max(x, set(-127.0f)), set(kExponentMagic)));
}

// The nearest even integer of min(x, kScoreLimit): 1.5 * 2^24 has a spacing of 2.
RAPTLY_INLINE Vf nearest_even(Vf x) {
  const Vf magic = set(25165824.0f);
  return sub(add(min(x, set(kScoreLimit)), magic), magic);
}

// Scores into +- kScoreLimit; -inf (masked) and NaN stay.
RAPTLY_INLINE Vf clamp_scores(Vf s) {
  const Vf limited = min(set(kScoreLimit), max(set(-kScoreLimit), s));
  return select(eq(s, set(kMinusInfinity)), s, limited);
}

// What 2^(s - m) needs of m, once a block.
struct Pow2Base {
  Vf low, magic;
  RAPTLY_INLINE explicit Pow2Base(Vf m)
      : low(sub(m, set(127.0f))), magic(sub(set(kExponentMagic), m)) {}
};

// 2^(s - m) = P(f) * 2^(n - m), n = round(s), f = s - n. P is minimax of degree 5 on |f| <= 1/2:
// relative error <= 1.57e-7 over all floats; P(0) = 1 and P(1/2) = 2 P(-1/2) to the bit. Scores of
// m - 127 and below, and -inf, give exactly 0; NaN stays NaN because max returns its second
// operand.
RAPTLY_INLINE Vf pow2(Vf s, const Pow2Base& m) {
  const Vf x = max(m.low, s);
  const Vf z = add(x, m.magic);
  const Vf f = sub(x, sub(z, m.magic));
  Vf p = set(0x1.5bda58p-10f);
  p = fma(p, f, set(0x1.3ce8aep-7f));
  p = fma(p, f, set(0x1.c6b6d8p-5f));
  p = fma(p, f, set(0x1.ebf9c2p-3f));
  p = fma(p, f, set(0x1.62e42ap-1f));
  p = fma(p, f, set(1.0f));
  return mul(p, exponent(z));
}

// The eight partial sums of a block by ordinal mod 8.
template <class V, class Add>
RAPTLY_INLINE V sum_tree(const V* a, Add&& plus) {
  return plus(plus(plus(a[0], a[4]), plus(a[2], a[6])), plus(plus(a[1], a[5]), plus(a[3], a[7])));
}

// Merge of the state of a later split (m, l, o) into the total (M, L, O):
// M' = max(M, m); L' = fma(l, 2^(m - M'), L * 2^(M - M')); O' the same.
struct MergeFactors {
  Vf m, total, split;
  RAPTLY_INLINE MergeFactors(Vf total_m, Vf split_m)
      : m(max(total_m, split_m)),
        total(pow2_integer(sub(total_m, m))),
        split(pow2_integer(sub(split_m, m))) {}
  RAPTLY_INLINE Vf operator()(Vf total_value, Vf split_value) const {
    return fma(split_value, split, mul(total_value, total));
  }
};

RAPTLY_INLINE float log_sum_exp(float m, float l) {
  constexpr double kLn2 = 0.6931471805599453;
  return static_cast<float>((static_cast<double>(m) + std::log2(static_cast<double>(l))) * kLn2);
}

// What is left to do of a row whose state is final: out = o * factor. The sink (a natural
// logarithm; -inf: none) merges as one more state, of o = 0. A row that saw nothing: factor 0, and
// lse is the sink.
struct RowEnd {
  float factor = 0, lse;
  RAPTLY_INLINE RowEnd(float m, float l, float sink) : lse(sink) {
    if (l == 0) return;
    if (sink == kMinusInfinity) {
      factor = 1.0f / l;
      lse = log_sum_exp(m, l);
      return;
    }
    const Vf s = clamp_scores(set(sink * kLog2E)), sink_m = nearest_even(s);
    const MergeFactors merge(set(m), sink_m);
    const float sum = first_lane(merge(set(l), pow2(s, Pow2Base(sink_m))));
    factor = first_lane(merge.total) * (1.0f / sum);
    lse = log_sum_exp(first_lane(merge.m), sum);
  }
};

}  // namespace RAPTLY_TARGET
}  // namespace raptly
RAPTLY_AFTER_TARGET();
#endif
#endif
