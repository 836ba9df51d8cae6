// Vectors of int16 pairs for the quantised matmul: a Vw holds, for each of kLanes outputs, the
// weights of an even and an odd input in the low and high half of a 32-bit lane.
#if defined(RAPTLY_INT16_OPS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RAPTLY_INT16_OPS_INL_H
#undef RAPTLY_INT16_OPS_INL_H
#else
#define RAPTLY_INT16_OPS_INL_H
#endif

#include "kernels/simd/vec-inl.h"
#if RAPTLY_TARGET_ENABLED
RAPTLY_BEFORE_TARGET();
namespace raptly {
namespace RAPTLY_TARGET {

using TagW = hn::Repartition<std::int16_t, TagF>;
using TagU = hn::RebindToUnsigned<TagW>;
using Vw = hn::Vec<TagW>;
constexpr TagW kW;
constexpr TagU kU;

RAPTLY_INLINE Vi zero_i() { return hn::Zero(kI); }
RAPTLY_INLINE Vi add_i(Vi a, Vi b) { return hn::Add(a, b); }
RAPTLY_INLINE Vf to_f(Vi a) { return hn::ConvertTo(kF, a); }
RAPTLY_INLINE Vf load_u8(const std::byte* p) {
  return to_f(hn::PromoteTo(
      kI, hn::LoadU(hn::Rebind<std::uint8_t, TagI>(), reinterpret_cast<const std::uint8_t*>(p))));
}
RAPTLY_INLINE Vf load_i8(const std::byte* p) {
  return to_f(hn::PromoteTo(
      kI, hn::LoadU(hn::Rebind<std::int8_t, TagI>(), reinterpret_cast<const std::int8_t*>(p))));
}
RAPTLY_INLINE Vw load_w(const void* p) {
  return hn::LoadU(kW, static_cast<const std::int16_t*>(p));
}
RAPTLY_INLINE void store_w(Vw a, void* p) { hn::StoreU(a, kW, static_cast<std::int16_t*>(p)); }
RAPTLY_INLINE Vw set_pair(const std::int16_t* p) {
  std::int32_t pair;
  std::memcpy(&pair, p, sizeof(pair));
  return hn::BitCast(kW, hn::Set(kI, pair));
}
template <int N>
RAPTLY_INLINE Vw shift_left_w(Vw a) {
  if constexpr (N == 0) return a;
  return hn::ShiftLeft<N>(a);
}
template <int N>
RAPTLY_INLINE Vw shift_right_w(Vw a) {
  if constexpr (N == 0) return a;
  return hn::BitCast(kW, hn::ShiftRight<N>(hn::BitCast(kU, a)));
}
template <int N>
RAPTLY_INLINE Vw shift_right_signed_w(Vw a) {
  if constexpr (N == 0) return a;
  return hn::ShiftRight<N>(a);
}
RAPTLY_INLINE Vw and_w(Vw a, int mask) {
  return hn::And(a, hn::Set(kW, static_cast<std::int16_t>(mask)));
}
// Bits of `yes` where mask has ones, bits of `no` elsewhere. (Highway 1.0.3's IfVecThenElse looks
// at the sign of whole lanes or bytes on AVX2.)
RAPTLY_INLINE Vw merge_w(int mask, Vw yes, Vw no) {
  const Vw m = hn::Set(kW, static_cast<std::int16_t>(mask));
#if HWY_TARGET == HWY_AVX3
  return Vw{_mm512_ternarylogic_epi32(m.raw, yes.raw, no.raw, 0xca)};
#else
  return hn::Or(hn::And(m, yes), hn::AndNot(m, no));
#endif
}
// sum + w_even x_even + w_odd x_odd, exact in int32. Highway 1.0.3 has only the reordering form.
RAPTLY_INLINE Vi dot2(Vi sum, Vw w, Vw x) {
#if HWY_TARGET == HWY_NEON
  const int32x4_t even_first = vmull_s16(vget_low_s16(w.raw), vget_low_s16(x.raw));
  const int32x4_t odd_first = vmull_high_s16(w.raw, x.raw);
  return Vi(vaddq_s32(sum.raw, vpaddq_s32(even_first, odd_first)));
#elif HWY_TARGET == HWY_AVX2
  Vi out{_mm256_add_epi32(sum.raw, _mm256_madd_epi16(w.raw, x.raw))};
  asm("" : "+x"(out.raw));  // GCC reassociates chains of integer adds and spills every product
  return out;
#elif defined(RAPTLY_VNNI_BUILD)
#if defined(__clang__)  // which would split the intrinsic into multiply and add: 150 for 190 GOP/s
  asm("vpdpwssd %2, %1, %0" : "+v"(sum.raw) : "v"(w.raw), "v"(x.raw));
  return sum;
#else
  return Vi{_mm512_dpwssd_epi32(sum.raw, w.raw, x.raw)};
#endif
#else
  Vi out{_mm512_add_epi32(sum.raw, _mm512_madd_epi16(w.raw, x.raw))};
  asm("" : "+v"(out.raw));
  return out;
#endif
}
RAPTLY_INLINE Vf even_f(Vw a) {
  return to_f(hn::ShiftRight<16>(hn::ShiftLeft<16>(hn::BitCast(kI, a))));
}
RAPTLY_INLINE Vf odd_f(Vw a) { return to_f(hn::ShiftRight<16>(hn::BitCast(kI, a))); }
RAPTLY_INLINE void prefetch(const std::byte* p) { __builtin_prefetch(p); }

}  // namespace RAPTLY_TARGET
}  // namespace raptly
RAPTLY_AFTER_TARGET();
#endif
#endif
