// Transposes kLanes rows into columns of kLanes values: out[c * out_stride + i]
// = row i, column c.
#if defined(RAPTLY_TRANSPOSE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RAPTLY_TRANSPOSE_INL_H
#undef RAPTLY_TRANSPOSE_INL_H
#else
#define RAPTLY_TRANSPOSE_INL_H
#endif

#include "kernels/simd/vec-inl.h"
#if RAPTLY_TARGET_ENABLED
RAPTLY_BEFORE_TARGET();
namespace raptly {
namespace RAPTLY_TARGET {

template <class T>
struct RowSource {
  const T* at;
  std::int64_t stride;  // elements from row to row
};

// Columns of a step: 16 bytes of each row.
template <class T>
constexpr int kTransposeColumns = 16 / static_cast<int>(sizeof(T));

#if defined(RAPTLY_SCALAR_BUILD)
// emit(integral_constant<k>, column k) for the columns of a step that starts at
// `at`.
template <class T, class Emit>
RAPTLY_INLINE void transpose_step(const T* at, std::int64_t stride, Emit&& emit) {
  each<kTransposeColumns<T>>([&](auto k) {
    Vf column;
    for (int i = 0; i < kLanes; ++i) {
      column.lane[i] = first_lane(load_first(at + i * stride + k, 1));
    }
    emit(k, column);
  });
}
#else
// Rows i, i + 4, i + 8, i + 12 side by side in one vector: 128 bits of each.
RAPTLY_INLINE Vf load_four_rows(const float* r0, const float* r1, const float* r2,
                                const float* r3) {
#if HWY_MAX_BYTES == 16
  (void)r1, (void)r2, (void)r3;
  return hn::LoadU(kF, r0);
#elif HWY_MAX_BYTES == 32
  (void)r2, (void)r3;
  return hn::OddEvenBlocks(hn::LoadDup128(kF, r1), hn::LoadDup128(kF, r0));
#else
  // Masked broadcasts merge as they load: 4 operations where Highway's blends
  // take 7.
  __m512 v = _mm512_castps128_ps512(_mm_loadu_ps(r0));
  v = _mm512_mask_broadcast_f32x4(v, 0x00f0, _mm_loadu_ps(r1));
  v = _mm512_mask_broadcast_f32x4(v, 0x0f00, _mm_loadu_ps(r2));
  return Vf{_mm512_mask_broadcast_f32x4(v, 0xf000, _mm_loadu_ps(r3))};
#endif
}

// 4x4 transposes inside each 128 bits.
RAPTLY_INLINE void transpose_blocks(const Vf (&v)[4], Vf (&out)[4]) {
  const hn::Repartition<std::uint64_t, TagF> u64;
  const auto a = hn::BitCast(u64, hn::InterleaveLower(kF, v[0], v[1]));
  const auto b = hn::BitCast(u64, hn::InterleaveUpper(kF, v[0], v[1]));
  const auto c = hn::BitCast(u64, hn::InterleaveLower(kF, v[2], v[3]));
  const auto d = hn::BitCast(u64, hn::InterleaveUpper(kF, v[2], v[3]));
  out[0] = hn::BitCast(kF, hn::InterleaveLower(u64, a, c));
  out[1] = hn::BitCast(kF, hn::InterleaveUpper(u64, a, c));
  out[2] = hn::BitCast(kF, hn::InterleaveLower(u64, b, d));
  out[3] = hn::BitCast(kF, hn::InterleaveUpper(u64, b, d));
}

// Dwords of two 16-bit values: the low ones and the high ones, widened.
RAPTLY_INLINE void widen_pairs(Vf dwords, const Bf16*, Vf& low, Vf& high) {
  const Vi pair = bits_of(dwords);
  low = from_bits(shift_left<16>(pair));
  high = from_bits(bit_and(pair, set_bits(0xffff0000u)));
}
RAPTLY_INLINE void widen_pairs(Vf dwords, const F16*, Vf& low, Vf& high) {
  const hn::Repartition<std::uint16_t, TagF> u16;
  const hn::Rebind<hwy::float16_t, TagF> f16;
  const auto pair = hn::BitCast(u16, dwords);
  low = hn::PromoteTo(kF, hn::BitCast(f16, hn::LowerHalf(hn::ConcatEven(u16, pair, pair))));
  high = hn::PromoteTo(kF, hn::BitCast(f16, hn::LowerHalf(hn::ConcatOdd(u16, pair, pair))));
}

// emit(integral_constant<k>, column k) for the columns of a step that starts at
// `at`, ascending. Two columns of 16-bit values are transposed as one of
// dwords, then widened. Base and stride rather than row pointers: 16 pointers
// would not stay in registers.
template <class T, class Emit>
RAPTLY_INLINE void transpose_step(const T* at, std::int64_t stride, Emit&& emit) {
  const std::int64_t four = 4 * stride;
  Vf v[4], o[4];
  each<4>([&](auto i) RAPTLY_LAMBDA {
    const T* r = at + i * stride;
    v[i] = load_four_rows(
        reinterpret_cast<const float*>(r), reinterpret_cast<const float*>(r + four),
        reinterpret_cast<const float*>(r + 2 * four), reinterpret_cast<const float*>(r + 3 * four));
  });
  transpose_blocks(v, o);
  each<4>([&](auto i) RAPTLY_LAMBDA {
    if constexpr (std::is_same_v<T, float>) {
      emit(i, o[i]);
    } else {
      Vf low, high;
      widen_pairs(o[i], at, low, high);
      emit(std::integral_constant<int, 2 * i>(), low);
      emit(std::integral_constant<int, 2 * i + 1>(), high);
    }
  });
}
#endif

// columns: whole steps.
template <class T>
RAPTLY_INLINE void transpose(const RowSource<T>& rows, std::int64_t columns, float* out,
                             std::int64_t out_stride) {
  for (std::int64_t c = 0; c < columns; c += kTransposeColumns<T>) {
    transpose_step(rows.at + c, rows.stride, [&](auto k, const Vf& column) RAPTLY_LAMBDA {
      store(column, out + (c + k) * out_stride);
    });
  }
}

}  // namespace RAPTLY_TARGET
}  // namespace raptly
RAPTLY_AFTER_TARGET();
#endif
#endif
