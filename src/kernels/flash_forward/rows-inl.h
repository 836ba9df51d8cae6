// Rows of any dtype and strides in and out of dense f32 rows.
#if defined(RAPTLY_ROWS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RAPTLY_ROWS_INL_H
#undef RAPTLY_ROWS_INL_H
#else
#define RAPTLY_ROWS_INL_H
#endif

#include "kernels/simd/vec-inl.h"
#if RAPTLY_TARGET_ENABLED
RAPTLY_BEFORE_TARGET();
namespace raptly {
namespace RAPTLY_TARGET {

// out[c] = row[c * stride], widened; not past n.
template <class T>
RAPTLY_INLINE void widen_row(const T* row, std::int64_t stride, std::int64_t n, float* out) {
  std::int64_t c = 0;
  if (stride == 1) {
    for (; c + kLanes <= n; c += kLanes) store(load(row + c), out + c);
    if (c < n) store_first(load_first(row + c, n - c), out + c, n - c);
    return;
  }
  for (; c < n; c += kLanes) {
    T part[kLanes] = {};
    const std::int64_t some = n - c < kLanes ? n - c : kLanes;
    for (std::int64_t i = 0; i < some; ++i) part[i] = row[(c + i) * stride];
    store_first(load(part), out + c, some);
  }
}

// row[c * stride] = x[c] * factor + 0, narrowed. + 0: the sign of a zero sum depends on which
// masked keys were skipped, and must not show.
template <class T>
RAPTLY_INLINE void write_row(const float* x, float factor, std::int64_t n, T* row,
                             std::int64_t stride) {
  const Vf by = set(factor);
  std::int64_t c = 0;
  if (stride == 1) {
    for (; c + kLanes <= n; c += kLanes) store(add(mul(load(x + c), by), zero()), row + c);
    if (c < n) store_first(add(mul(load_first(x + c, n - c), by), zero()), row + c, n - c);
    return;
  }
  for (; c < n; c += kLanes) {
    T part[kLanes];
    const std::int64_t some = n - c < kLanes ? n - c : kLanes;
    store(add(mul(load_first(x + c, some), by), zero()), part);
    for (std::int64_t i = 0; i < some; ++i) row[(c + i) * stride] = part[i];
  }
}

RAPTLY_INLINE bool has_non_finite(const float* x, std::int64_t n) {
  const Vi exponent_field = set_bits(0x7f800000u);
  bool found = false;
  std::int64_t c = 0;
  for (; c + kLanes <= n; c += kLanes) {
    found |= any(equal(bit_and(bits_of(load(x + c)), exponent_field), exponent_field));
  }
  if (c < n) {
    const Vi tail = bit_and(bits_of(load_first(x + c, n - c)), exponent_field);
    found |= any(equal(tail, exponent_field));
  }
  return found;
}

}  // namespace RAPTLY_TARGET
}  // namespace raptly
RAPTLY_AFTER_TARGET();
#endif
#endif
