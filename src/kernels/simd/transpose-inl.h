// Transposes kLanes rows into columns of kLanes values: out[c * out_stride + i] = row i, column c.
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

// Columns a step of transpose() takes; it may be given only whole steps.
template <class T>
constexpr int kTransposeColumns = 16 / static_cast<int>(sizeof(T));

#if defined(RAPTLY_SCALAR_BUILD)
template <class T, class EachStep>
RAPTLY_INLINE void transpose(const RowSource<T>& rows, std::int64_t columns, float* out,
                             std::int64_t out_stride, EachStep&& each_step) {
  for (std::int64_t c = 0; c < columns; c += kTransposeColumns<T>) {
    each_step();
    for (int k = 0; k < kTransposeColumns<T>; ++k) {
      for (int i = 0; i < kLanes; ++i) {
        float value;
        if constexpr (std::is_same_v<T, float>) {
          value = rows.at[i * rows.stride + c + k];
        } else {
          value = to_float(rows.at[i * rows.stride + c + k]);
        }
        out[(c + k) * out_stride + i] = value;
      }
    }
  }
}
#else
// Rows i, i + 4, i + 8, i + 12 side by side in one vector: 128 bits of each.
RAPTLY_INLINE Vf load_four_rows(const float* r0, const float* r1, const float* r2,
                                const float* r3) {
#if HWY_MAX_BYTES == 16
  (void)r1, (void)r2, (void)r3;
  return hn::LoadU(kF, r0);
#else
  const Vf low = hn::OddEvenBlocks(hn::LoadDup128(kF, r1), hn::LoadDup128(kF, r0));
#if HWY_MAX_BYTES == 32
  (void)r2, (void)r3;
  return low;
#else
  const Vf high = hn::OddEvenBlocks(hn::LoadDup128(kF, r3), hn::LoadDup128(kF, r2));
  return hn::ConcatUpperLower(kF, high, low);
#endif
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

// T: float, or Bf16 (two columns to a dword: shifts and masks widen them after the transpose).
// each_step() is called once a step: a place to prefetch. Base and stride rather than row pointers:
// 16 pointers would not stay in registers.
template <class T, class EachStep>
RAPTLY_INLINE void transpose(const RowSource<T>& rows, std::int64_t columns, float* out,
                             std::int64_t out_stride, EachStep&& each_step) {
  const std::int64_t four = 4 * rows.stride;
  const T* r0 = rows.at;
  for (std::int64_t c = 0; c < columns; c += kTransposeColumns<T>, r0 += kTransposeColumns<T>) {
    Vf v[4], o[4];
    each<4>([&](auto i) RAPTLY_LAMBDA {
      const T* r = r0 + i * rows.stride;
      v[i] = load_four_rows(reinterpret_cast<const float*>(r),
                            reinterpret_cast<const float*>(r + four),
                            reinterpret_cast<const float*>(r + 2 * four),
                            reinterpret_cast<const float*>(r + 3 * four));
    });
    each_step();
    transpose_blocks(v, o);
    each<4>([&](auto i) RAPTLY_LAMBDA {
      if constexpr (std::is_same_v<T, float>) {
        store(o[i], out + (c + i) * out_stride);
      } else {
        static_assert(std::is_same_v<T, Bf16>);
        const Vi pair = bits_of(o[i]);
        store(from_bits(shift_left<16>(pair)), out + (c + 2 * i) * out_stride);
        store(from_bits(bit_and(pair, set_bits(0xffff0000u))), out + (c + 2 * i + 1) * out_stride);
      }
    });
  }
}
#endif

template <class T>
RAPTLY_INLINE void transpose(const RowSource<T>& rows, std::int64_t columns, float* out,
                             std::int64_t out_stride) {
  transpose(rows, columns, out, out_stride, []() RAPTLY_LAMBDA {});
}

}  // namespace RAPTLY_TARGET
}  // namespace raptly
RAPTLY_AFTER_TARGET();
#endif
#endif
