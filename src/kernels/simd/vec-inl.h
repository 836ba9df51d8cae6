// The few vector operations that kernels are written in: f32 lanes, i32 lanes, masks, and loads
// that widen f16 and bf16. One source for every level; every operation gives the same bits on each.
//
// Use, in a file that is compiled once a target (see targets.h):
//   RAPTLY_BEFORE_TARGET();
//   namespace raptly { namespace RAPTLY_TARGET {
//   ...
//   } }
//   RAPTLY_AFTER_TARGET();
// Lambdas passed to each<> need RAPTLY_LAMBDA, functions on hot paths RAPTLY_INLINE.
#if defined(RAPTLY_VEC_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RAPTLY_VEC_INL_H
#undef RAPTLY_VEC_INL_H
#else
#define RAPTLY_VEC_INL_H
#endif

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "raptly/dtype.h"

#undef RAPTLY_TARGET
#undef RAPTLY_TARGET_ENABLED
#undef RAPTLY_BEFORE_TARGET
#undef RAPTLY_AFTER_TARGET
#undef RAPTLY_LAMBDA
#undef RAPTLY_INLINE
#define RAPTLY_INLINE inline __attribute__((always_inline))

#if defined(RAPTLY_SCALAR_BUILD)
#define RAPTLY_TARGET scalar
#define RAPTLY_TARGET_ENABLED 1
#define RAPTLY_BEFORE_TARGET() static_assert(true)
#define RAPTLY_AFTER_TARGET() static_assert(true)
#define RAPTLY_LAMBDA __attribute__((always_inline))
#include "kernels/simd/vec_scalar-inl.h"
#else
#include "hwy/highway.h"
#define RAPTLY_TARGET HWY_NAMESPACE
#define RAPTLY_TARGET_ENABLED \
  (HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_NEON)
#define RAPTLY_BEFORE_TARGET() HWY_BEFORE_NAMESPACE()
#define RAPTLY_AFTER_TARGET() HWY_AFTER_NAMESPACE()
#define RAPTLY_LAMBDA HWY_ATTR __attribute__((always_inline))
#endif

#if RAPTLY_TARGET_ENABLED && !defined(RAPTLY_SCALAR_BUILD)
HWY_BEFORE_NAMESPACE();
namespace raptly {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using TagF = hn::ScalableTag<float>;
using TagI = hn::RebindToSigned<TagF>;
using Vf = hn::Vec<TagF>;   // kLanes floats
using Vi = hn::Vec<TagI>;   // kLanes int32
using Mf = hn::Mask<TagF>;  // kLanes truth values
constexpr TagF kF;
constexpr TagI kI;
constexpr int kLanes = HWY_MAX_BYTES / 4;
constexpr int kRegisters = (HWY_TARGET == HWY_AVX2) ? 16 : 32;

RAPTLY_INLINE Vf set(float x) { return hn::Set(kF, x); }
RAPTLY_INLINE Vf zero() { return hn::Zero(kF); }
RAPTLY_INLINE Vf load(const float* p) { return hn::LoadU(kF, p); }
RAPTLY_INLINE Vf load(const Bf16* p) {
  return hn::PromoteTo(kF, hn::LoadU(hn::Rebind<hwy::bfloat16_t, TagF>(),
                                     reinterpret_cast<const hwy::bfloat16_t*>(p)));
}
RAPTLY_INLINE Vf load(const F16* p) {
  return hn::PromoteTo(kF, hn::LoadU(hn::Rebind<hwy::float16_t, TagF>(),
                                     reinterpret_cast<const hwy::float16_t*>(p)));
}
RAPTLY_INLINE void store(Vf v, float* p) { hn::StoreU(v, kF, p); }
RAPTLY_INLINE Vf fma(Vf a, Vf b, Vf c) { return hn::MulAdd(a, b, c); }  // a * b + c, one rounding
RAPTLY_INLINE Vf add(Vf a, Vf b) { return hn::Add(a, b); }
RAPTLY_INLINE Vf sub(Vf a, Vf b) { return hn::Sub(a, b); }
RAPTLY_INLINE Vf mul(Vf a, Vf b) { return hn::Mul(a, b); }
RAPTLY_INLINE Vf div(Vf a, Vf b) { return hn::Div(a, b); }
RAPTLY_INLINE Vf abs(Vf a) { return hn::Abs(a); }
#if HWY_TARGET == HWY_NEON
RAPTLY_INLINE Vf max(Vf a, Vf b) { return hn::IfThenElse(hn::Gt(a, b), a, b); }
RAPTLY_INLINE Vf min(Vf a, Vf b) { return hn::IfThenElse(hn::Lt(a, b), a, b); }
#else
RAPTLY_INLINE Vf max(Vf a, Vf b) { return hn::Max(a, b); }  // a > b ? a : b: NaN in either gives b
RAPTLY_INLINE Vf min(Vf a, Vf b) { return hn::Min(a, b); }  // a < b ? a : b
#endif
RAPTLY_INLINE Mf gt(Vf a, Vf b) { return hn::Gt(a, b); }
RAPTLY_INLINE Mf eq(Vf a, Vf b) { return hn::Eq(a, b); }
RAPTLY_INLINE Vf select(Mf m, Vf yes, Vf no) { return hn::IfThenElse(m, yes, no); }
RAPTLY_INLINE bool any(Mf m) { return !hn::AllFalse(kF, m); }
// Bit i of the kLanes bits at p (low bit first) is lane i.
RAPTLY_INLINE Mf mask_from_bits(std::uint64_t bits) {
  std::uint8_t bytes[8];
  std::memcpy(bytes, &bits, 8);
  return hn::LoadMaskBits(kF, bytes);
}
RAPTLY_INLINE Vi bits_of(Vf a) { return hn::BitCast(kI, a); }
RAPTLY_INLINE Vf from_bits(Vi a) { return hn::BitCast(kF, a); }
template <int N>
RAPTLY_INLINE Vi shift_left(Vi a) {
  return hn::ShiftLeft<N>(a);
}
RAPTLY_INLINE float first_lane(Vf a) { return hn::GetLane(a); }
RAPTLY_INLINE float max_lane(Vf a) { return hn::GetLane(hn::MaxOfLanes(kF, a)); }
RAPTLY_INLINE Vi set_bits(std::uint32_t x) { return hn::Set(kI, static_cast<std::int32_t>(x)); }
RAPTLY_INLINE Vi load_bits(const std::uint32_t* p) {
  return hn::LoadU(kI, reinterpret_cast<const std::int32_t*>(p));
}
RAPTLY_INLINE Vi bit_and(Vi a, Vi b) { return hn::And(a, b); }
RAPTLY_INLINE Vi bit_or(Vi a, Vi b) { return hn::Or(a, b); }
RAPTLY_INLINE Mf is_zero(Vi a) { return hn::RebindMask(kF, hn::Eq(a, hn::Zero(kI))); }
RAPTLY_INLINE Mf equal(Vi a, Vi b) { return hn::RebindMask(kF, hn::Eq(a, b)); }
// Narrowing rounds to nearest even and keeps NaN a NaN.
RAPTLY_INLINE void store(Vf v, F16* p) {
  hn::StoreU(hn::DemoteTo(hn::Rebind<hwy::float16_t, TagF>(), v),
             hn::Rebind<hwy::float16_t, TagF>(), reinterpret_cast<hwy::float16_t*>(p));
}
RAPTLY_INLINE void store(Vf v, Bf16* p) {
  const hn::RebindToUnsigned<TagF> u32;
  const hn::Rebind<std::uint16_t, TagF> u16;
  const auto bits = hn::BitCast(u32, v);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(u32, 1u));
  const auto rounded = hn::Add(bits, hn::Add(odd, hn::Set(u32, 0x7fffu)));
  const auto quiet = hn::Or(bits, hn::Set(u32, 0x400000u));
  const auto nan = hn::RebindMask(u32, hn::Ne(v, v));
  const auto high = hn::ShiftRight<16>(hn::IfThenElse(nan, quiet, rounded));
  hn::StoreU(hn::TruncateTo(u16, high), u16, reinterpret_cast<std::uint16_t*>(p));
}

}  // namespace HWY_NAMESPACE
}  // namespace raptly
HWY_AFTER_NAMESPACE();
#endif

#if RAPTLY_TARGET_ENABLED
RAPTLY_BEFORE_TARGET();
namespace raptly {
namespace RAPTLY_TARGET {

// f(integral_constant<0>) ... f(integral_constant<N-1>): unrolled by template, which both GCC and
// clang keep in registers; GCC 12 ignores its unroll pragma on nested loops.
template <int N, class F>
RAPTLY_INLINE void each(F&& f) {
  [&]<int... I>(std::integer_sequence<int, I...>) RAPTLY_LAMBDA {
    (f(std::integral_constant<int, I>()), ...);
  }(std::make_integer_sequence<int, N>());
}

// The first n < kLanes values at p; the other lanes are 0.
template <class T>
RAPTLY_INLINE Vf load_first(const T* p, std::int64_t n) {
  T part[kLanes] = {};
  std::memcpy(part, p, static_cast<std::size_t>(n) * sizeof(T));
  return load(part);
}
template <class T>
RAPTLY_INLINE void store_first(Vf v, T* p, std::int64_t n) {
  T part[kLanes];
  store(v, part);
  std::memcpy(p, part, static_cast<std::size_t>(n) * sizeof(T));
}

}  // namespace RAPTLY_TARGET
}  // namespace raptly
RAPTLY_AFTER_TARGET();
#endif

#endif  // include guard
