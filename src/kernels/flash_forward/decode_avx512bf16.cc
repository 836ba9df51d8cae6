// Lane = key for scores, lane = column for values. Compiled with the flags of
// *_avx512bf16.cc.
#if defined(__x86_64__)
#include "kernels/flash_forward/bf16_leaf.h"
#include "kernels/flash_forward/bf16_vectors-inl.h"

namespace raptly::bf16_leaf {
namespace {

template <int kRows, int kVecs>
void scores_tile(const RowScores& s, int first_row) {
  const std::uint32_t* __restrict q = s.q + first_row * s.q_stride;
  const std::uint32_t* __restrict k = s.k;
  __m512 sum[kRows][kVecs];
  each<kRows>([&](auto i) RAPTLY_LEAF_LAMBDA {
    each<kVecs>([&](auto j) RAPTLY_LEAF_LAMBDA { sum[i][j] = _mm512_setzero_ps(); });
  });
  for (std::int64_t t = 0; t < s.pairs; ++t, k += kVecs * 16) {
    __m512i lanes[kVecs];
    each<kVecs>([&](auto j) RAPTLY_LEAF_LAMBDA { lanes[j] = load_words(k + j * 16); });
    each<kRows>([&](auto i) RAPTLY_LEAF_LAMBDA {
      const __m512i b = broadcast(q[i * s.q_stride + t]);
      each<kVecs>([&](auto j)
                      RAPTLY_LEAF_LAMBDA { sum[i][j] = dot_pairs(sum[i][j], b, lanes[j]); });
    });
  }
  float* out = s.scores + first_row * s.scores_stride;
  each<kRows>([&](auto i) RAPTLY_LEAF_LAMBDA {
    each<kVecs>([&](auto j) RAPTLY_LEAF_LAMBDA {
      _mm512_storeu_ps(out + i * s.scores_stride + j * 16, sum[i][j]);
    });
  });
}

template <int kVecs>
void scores_of(const RowScores& s) {
  int row = 0;
  for (; row + 4 <= s.rows; row += 4) scores_tile<4, kVecs>(s, row);
  if (s.rows & 2) {
    scores_tile<2, kVecs>(s, row);
    row += 2;
  }
  if (s.rows & 1) scores_tile<1, kVecs>(s, row);
}

// At most 16 columns of two rows as pairs.
RAPTLY_LEAF_INLINE __m512i load_pair(const Bf16* even, const Bf16* odd, __mmask16 valid) {
  const __m512i low = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(valid, even));
  const __m512i high = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(valid, odd));
  return _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}

// kVecs is even, or 1: then of the columns in `valid` only.
template <int kRows, int kVecs, bool kFetch>
void values_tile(const RowValues& v, int first_row, std::int64_t column, __mmask16 valid) {
  const Bf16* __restrict even = v.v + column;
  const std::uint32_t* __restrict p = v.p + first_row * v.p_stride;
  float* o = v.o + first_row * v.o_stride + column;
  const std::intptr_t ahead[3] = {v.ahead[0], v.ahead[1], v.ahead[2]};
  const auto fetch = [&](const Bf16* at) RAPTLY_LEAF_LAMBDA {
    if constexpr (kFetch) {
      each<3>([&](auto i) RAPTLY_LEAF_LAMBDA {
        __builtin_prefetch(reinterpret_cast<const char*>(at) + ahead[i], 0, 2);
      });
    }
  };
  const Interleave order;
  __m512 sum[kRows][kVecs];
  each<kRows>([&](auto i) RAPTLY_LEAF_LAMBDA {
    each<kVecs>([&](auto j) RAPTLY_LEAF_LAMBDA {
      sum[i][j] = _mm512_loadu_ps(o + i * v.o_stride + j * 16);
    });
  });
  for (int t = 0; t < v.pairs; ++t, even += 2 * v.v_stride) {
    const Bf16* odd = even + v.v_stride;
    __m512i lanes[kVecs];
    if constexpr (kVecs == 1) {
      lanes[0] = load_pair(even, odd, valid);
    } else {
      each<kVecs / 2>([&](auto j) RAPTLY_LEAF_LAMBDA {
        const __m512i a = load_words(even + j * 32), b = load_words(odd + j * 32);
        lanes[2 * j] = order.lower(a, b);
        lanes[2 * j + 1] = order.upper(a, b);
        fetch(even + j * 32);
        fetch(odd + j * 32);
      });
    }
    each<kRows>([&](auto i) RAPTLY_LEAF_LAMBDA {
      const __m512i b = broadcast(p[i * v.p_stride + t]);
      each<kVecs>([&](auto j)
                      RAPTLY_LEAF_LAMBDA { sum[i][j] = dot_pairs(sum[i][j], lanes[j], b); });
    });
  }
  each<kRows>([&](auto i) RAPTLY_LEAF_LAMBDA {
    each<kVecs>([&](auto j) RAPTLY_LEAF_LAMBDA {
      _mm512_storeu_ps(o + i * v.o_stride + j * 16, sum[i][j]);
    });
  });
}

// All columns of kRows rows, in tiles of at most kVecs vectors.
template <int kRows, int kVecs, bool kFetch>
void columns_of(const RowValues& v, int row) {
  std::int64_t c = 0;
  for (; c + kVecs * 16 <= v.columns; c += kVecs * 16)
    values_tile<kRows, kVecs, kFetch>(v, row, c, 0);
  if constexpr (kVecs > 4) {
    if (c + 64 <= v.columns) {
      values_tile<kRows, 4, kFetch>(v, row, c, 0);
      c += 64;
    }
  }
  for (; c + 32 <= v.columns; c += 32) values_tile<kRows, 2, kFetch>(v, row, c, 0);
  for (; c < v.columns; c += 16) {
    const std::int64_t rest = v.columns - c, left = rest < 16 ? rest : 16;
    values_tile<kRows, 1, kFetch>(v, row, c, static_cast<__mmask16>((1u << left) - 1));
  }
}
template <int kRows, int kVecs>
void values_of(const RowValues& v, int row) {
  if (v.fetch && row == 0) return columns_of<kRows, kVecs, true>(v, row);
  columns_of<kRows, kVecs, false>(v, row);
}

}  // namespace

void row_scores(const RowScores& s) noexcept {
  if (s.vecs == 4) return scores_of<4>(s);
  if (s.vecs == 2) return scores_of<2>(s);
  scores_of<1>(s);
}

float row_weights(const RowWeights& w) noexcept {
  const Power power{_mm512_set1_ps(w.scale), _mm512_set1_ps(w.low), _mm512_set1_ps(w.magic)};
  __m256 sum = _mm256_setzero_ps();  // lane i: keys mod 8 = i, ascending
  for (int k = 0; k < w.n; k += 16) {
    const __m512 p = power(_mm512_loadu_ps(w.scores + k));
    sum = _mm256_add_ps(sum, _mm512_castps512_ps256(p));
    sum = _mm256_add_ps(sum, _mm512_extractf32x8_ps(p, 1));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(w.p + k), (__m256i)_mm512_cvtneps_pbh(p));
  }
  float a[8];
  _mm256_storeu_ps(a, sum);
  return ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7]));
}

void row_values(const RowValues& v) noexcept {
  int row = 0;
  for (; row + 8 <= v.rows; row += 8) values_of<8, 2>(v, row);
  if (v.rows & 4) {
    values_of<4, 4>(v, row);
    row += 4;
  }
  if (v.rows & 2) {
    values_of<2, 4>(v, row);
    row += 2;
  }
  if (v.rows & 1) values_of<1, 8>(v, row);
}

}  // namespace raptly::bf16_leaf
#endif
