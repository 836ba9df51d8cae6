// Reads packed panels: int16 weight pairs and f32 scales of kLanes outputs.
#if defined(RAPTLY_PANEL_READER_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RAPTLY_PANEL_READER_INL_H
#undef RAPTLY_PANEL_READER_INL_H
#else
#define RAPTLY_PANEL_READER_INL_H
#endif

#include "kernels/matmul/int16_ops-inl.h"
#include "kernels/matmul/panel_layout.h"
#if RAPTLY_TARGET_ENABLED
RAPTLY_BEFORE_TARGET();
namespace raptly {
namespace RAPTLY_TARGET {

// Weights 2t and 2t + 1 of a block. block: its payload, at the first of the kLanes outputs.
template <class Format, int t>
RAPTLY_INLINE Vw weight_pair(const std::byte* block) {
  if constexpr (Format::kLowBits == 8) {
    const Vw x = load_w(block + t / 2 * 64);
    if constexpr (t % 2 == 1) return shift_right_signed_w<8>(x);
    return shift_right_signed_w<8>(shift_left_w<8>(x));
  } else {
    constexpr int kAt = t % 4 * 4;  // bit position of the field in its 16-bit half
    const Vw low = load_w(block + t / 4 * 64);
    if constexpr (Format::kHighBits == 0) {
      if constexpr (Format::kSigned) return shift_right_signed_w<12>(shift_left_w<12 - kAt>(low));
      if constexpr (kAt == 12) return shift_right_w<12>(low);
      return and_w(shift_right_w<kAt>(low), 15);
    } else {
      constexpr int kHigh = Format::kHighBits, kFields = 16 / kHigh, kHighAt = t % kFields * kHigh;
      const Vw high = load_w(block + 256 + t / kFields * 64);
      if constexpr (Format::kSigned) {
        return merge_w(15, shift_right_w<kAt>(low),
                       shift_right_signed_w<12 - kHigh>(shift_left_w<16 - kHigh - kHighAt>(high)));
      } else {
        constexpr int kLeft = kHighAt < 4 ? 4 - kHighAt : 0, kRight = kHighAt < 4 ? 0 : kHighAt - 4;
        const Vw moved = shift_right_w<kRight>(shift_left_w<kLeft>(high));
        return and_w(merge_w(15, shift_right_w<kAt>(low), moved), (16 << kHigh) - 1);
      }
    }
  }
}

RAPTLY_INLINE Vf load_f16(const std::byte* p) { return load(reinterpret_cast<const F16*>(p)); }

// Scale of step h of block b, exact in f32: f16, or f16 times 6 or 8 bits. o: first of the outputs.
template <class Format>
RAPTLY_INLINE Vf block_scale(const std::byte* panel, std::int64_t b, int h, int o) {
  const Vf d = load_f16(panel + Format::f16_offset(b) + o * 2);
  if constexpr (Format::kSuper == 1) return d;
  const std::byte* small = panel + Format::scales_offset(b) + h * 16 + o;
  if constexpr (Format::kSteps == 2) return mul(d, load_i8(small));
  return mul(d, load_u8(small));
}

// What a block adds to each of its weights.
template <class Format>
RAPTLY_INLINE Vf block_min(const std::byte* panel, std::int64_t b, int o) {
  const Vf m = load_f16(panel + Format::f16_offset(b) + 32 + o * 2);
  if constexpr (Format::kSuper == 1) return m;
  return mul(m, load_u8(panel + Format::scales_offset(b) + 16 + o));
}

}  // namespace RAPTLY_TARGET
}  // namespace raptly
RAPTLY_AFTER_TARGET();
#endif
#endif
