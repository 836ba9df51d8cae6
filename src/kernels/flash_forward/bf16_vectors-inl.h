// What the leaf files of the level avx512_bf16 share. Only *_avx512bf16.cc
// files include it: all of it has internal linkage, because they are compiled
// with flags that other files have not.
#pragma once

// GCC 12 takes the undefined operands of its own intrinsics for mistakes.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

#include <cstdint>
#include <utility>

#define RAPTLY_LEAF_INLINE inline __attribute__((always_inline))
#define RAPTLY_LEAF_LAMBDA __attribute__((always_inline))

namespace raptly::bf16_leaf {
namespace {

template <int N, class F>
RAPTLY_LEAF_INLINE void each(F&& f) {
  [&]<int... I>(std::integer_sequence<int, I...>) RAPTLY_LEAF_LAMBDA {
    (f(std::integral_constant<int, I>()), ...);
  }(std::make_integer_sequence<int, N>());
}

// sum + a_odd * b_odd + a_even * b_even, two roundings.
RAPTLY_LEAF_INLINE __m512 dot_pairs(__m512 sum, __m512i a, __m512i b) {
  return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
}
RAPTLY_LEAF_INLINE __m512i broadcast(std::uint32_t pair) {
  return _mm512_set1_epi32(static_cast<int>(pair));
}
RAPTLY_LEAF_INLINE __m512i load_words(const void* p) { return _mm512_loadu_si512(p); }

// Two rows of 32 bf16 values as pairs: columns 0-15 and 16-31.
struct Interleave {
  __m512i low, high;
  RAPTLY_LEAF_INLINE Interleave() {
    const __m512i step = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    // Value 2i: i of the even row; value 2i + 1: i of the odd row, numbered
    // from 32.
    low =
        _mm512_or_si512(step, _mm512_slli_epi32(_mm512_add_epi32(step, _mm512_set1_epi32(32)), 16));
    high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
  }
  RAPTLY_LEAF_INLINE __m512i lower(__m512i even, __m512i odd) const {
    return _mm512_permutex2var_epi16(even, low, odd);
  }
  RAPTLY_LEAF_INLINE __m512i upper(__m512i even, __m512i odd) const {
    return _mm512_permutex2var_epi16(even, high, odd);
  }
};

// 2^(scale * s - m), two FMA for the reduction: n = round(scale * s) and f =
// scale * s - n do not depend on m, an even integer. Degree 4: relative error
// <= 2.67e-6, below the 2^-8 of bf16.
struct Power {
  __m512 scale, low, magic;
  RAPTLY_LEAF_INLINE __m512 operator()(__m512 s) const {
    const __m512 x = _mm512_max_ps(low, s);  // NaN stays: max returns its second operand
    const __m512 z = _mm512_fmadd_ps(x, scale, magic);
    const __m512 f = _mm512_fmsub_ps(x, scale, _mm512_sub_ps(z, magic));
    __m512 p = _mm512_set1_ps(0x1.399a68p-7f);
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.ca134cp-5f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.ec06c2p-3f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.62e0e0p-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.ffffe8p-1f));
    const __m512i exponent = _mm512_slli_epi32(_mm512_castps_si512(z), 23);
    return _mm512_mul_ps(p, _mm512_castsi512_ps(exponent));
  }
};

}  // namespace
}  // namespace raptly::bf16_leaf
