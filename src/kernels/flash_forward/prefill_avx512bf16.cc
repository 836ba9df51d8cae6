// Lane = query. Compiled with the flags of *_avx512bf16.cc (cmake/Rooms.cmake).
#if defined(__x86_64__)
#include "kernels/flash_forward/bf16_leaf.h"
#include "kernels/flash_forward/bf16_vectors-inl.h"

namespace raptly::bf16_leaf {
namespace {

template <int kVecs>
void scores_of(const Scores& s) {
  constexpr std::int64_t kStride = kVecs * kVectorLanes;
  __m512 best[kVecs];
  each<kVecs>([&](auto j) RAPTLY_LEAF_LAMBDA { best[j] = _mm512_loadu_ps(s.best + j * 16); });
  const std::uint32_t* k = s.k;
  float* out = s.scores;
  for (int key = 0; key < s.n; key += kTileRows) {
    const std::uint32_t* __restrict q = s.q;
    __m512 sum[kTileRows][kVecs];
    each<kTileRows>([&](auto i) RAPTLY_LEAF_LAMBDA {
      each<kVecs>([&](auto j) RAPTLY_LEAF_LAMBDA { sum[i][j] = _mm512_setzero_ps(); });
    });
    for (std::int64_t t = 0; t < s.pairs; ++t, q += kStride) {
      __m512i lanes[kVecs];
      each<kVecs>([&](auto j) RAPTLY_LEAF_LAMBDA { lanes[j] = load_words(q + j * 16); });
      each<kTileRows>([&](auto i) RAPTLY_LEAF_LAMBDA {
        const __m512i b = broadcast(k[i * s.k_stride + t]);
        each<kVecs>([&](auto j)
                        RAPTLY_LEAF_LAMBDA { sum[i][j] = dot_pairs(sum[i][j], b, lanes[j]); });
      });
    }
    each<kTileRows>([&](auto i) RAPTLY_LEAF_LAMBDA {
      each<kVecs>([&](auto j) RAPTLY_LEAF_LAMBDA {
        _mm512_storeu_ps(out + i * kStride + j * 16, sum[i][j]);
        best[j] = _mm512_max_ps(sum[i][j], best[j]);
      });
    });
    k += kTileRows * s.k_stride;
    out += kTileRows * kStride;
  }
  each<kVecs>([&](auto j) RAPTLY_LEAF_LAMBDA { _mm512_storeu_ps(s.best + j * 16, best[j]); });
}

template <int kVecs, bool kAccumulate>
void values_of(const Values& v) {
  constexpr std::int64_t kStride = kVecs * kVectorLanes;
  float* o = v.o;
  const std::uint32_t* tile = v.v;
  for (std::int64_t c = 0; c < v.tiles; ++c, tile += v.tile_stride, o += kTileRows * kStride) {
    const std::uint32_t* __restrict a = tile;
    const std::uint32_t* __restrict p = v.p;
    __m512 sum[kTileRows][kVecs];
    each<kTileRows>([&](auto i) RAPTLY_LEAF_LAMBDA {
      each<kVecs>([&](auto j) RAPTLY_LEAF_LAMBDA {
        sum[i][j] = kAccumulate ? _mm512_loadu_ps(o + i * kStride + j * 16) : _mm512_setzero_ps();
      });
    });
    for (int t = 0; t < v.pairs; ++t, a += kTileRows, p += kStride) {
      __m512i lanes[kVecs];
      each<kVecs>([&](auto j) RAPTLY_LEAF_LAMBDA { lanes[j] = load_words(p + j * 16); });
      each<kTileRows>([&](auto i) RAPTLY_LEAF_LAMBDA {
        const __m512i b = broadcast(a[i]);
        each<kVecs>([&](auto j)
                        RAPTLY_LEAF_LAMBDA { sum[i][j] = dot_pairs(sum[i][j], b, lanes[j]); });
      });
    }
    each<kTileRows>([&](auto i) RAPTLY_LEAF_LAMBDA {
      each<kVecs>([&](auto j) RAPTLY_LEAF_LAMBDA {
        _mm512_storeu_ps(o + i * kStride + j * 16, sum[i][j]);
      });
    });
  }
}

RAPTLY_LEAF_INLINE bool has_non_finite(__m512i words) {
  const __m512i field = _mm512_set1_epi16(0x7f80);
  return _mm512_cmpeq_epi16_mask(_mm512_and_si512(words, field), field) != 0;
}

}  // namespace

void scores(const Scores& s) noexcept {
  if (s.vecs == 3) return scores_of<3>(s);
  if (s.vecs == 2) return scores_of<2>(s);
  scores_of<1>(s);
}

void weights(const Weights& w) noexcept {
  const std::int64_t stride = w.vecs * kVectorLanes;
  const __m512i pick = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24,
                                        8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  for (std::int64_t lane = 0; lane < stride; lane += kVectorLanes) {
    const Power power{_mm512_loadu_ps(w.base.scale + lane), _mm512_loadu_ps(w.base.low + lane),
                      _mm512_loadu_ps(w.base.magic + lane)};
    __m512 sum[8];
    each<8>([&](auto i) RAPTLY_LEAF_LAMBDA { sum[i] = _mm512_setzero_ps(); });
    const float* s = w.scores + lane;
    float* out = w.scores + lane;
    for (int k = 0; k < w.n; k += 8, s += 8 * stride, out += 4 * stride) {
      each<4>([&](auto i) RAPTLY_LEAF_LAMBDA {
        const __m512 even = power(_mm512_loadu_ps(s + 2 * i * stride));
        const __m512 odd = power(_mm512_loadu_ps(s + (2 * i + 1) * stride));
        sum[2 * i] = _mm512_add_ps(sum[2 * i], even);
        sum[2 * i + 1] = _mm512_add_ps(sum[2 * i + 1], odd);
        const __m512i both = (__m512i)_mm512_cvtne2ps_pbh(odd, even);
        _mm512_storeu_si512(out + i * stride, _mm512_permutexvar_epi16(pick, both));
      });
    }
    const __m512 a = _mm512_add_ps(_mm512_add_ps(sum[0], sum[4]), _mm512_add_ps(sum[2], sum[6]));
    const __m512 b = _mm512_add_ps(_mm512_add_ps(sum[1], sum[5]), _mm512_add_ps(sum[3], sum[7]));
    const __m512 l = _mm512_add_ps(_mm512_loadu_ps(w.l + lane), _mm512_add_ps(a, b));
    _mm512_storeu_ps(w.l + lane, l);
  }
}

void values(const Values& v) noexcept {
  if (v.vecs == 3) return v.accumulate ? values_of<3, true>(v) : values_of<3, false>(v);
  if (v.vecs == 2) return v.accumulate ? values_of<2, true>(v) : values_of<2, false>(v);
  v.accumulate ? values_of<1, true>(v) : values_of<1, false>(v);
}

void values_of_visible_pair(const VisiblePair& v) noexcept {
  const __m512i p = load_words(v.p), high = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  for (std::int64_t c = 0; c < v.tiles * kTileRows; ++c) {
    const __m512i pair = broadcast(v.v[c / kTileRows * v.tile_stride + c % kTileRows]);
    float* o = v.o + c * v.o_stride;
    __m512 sum = _mm512_loadu_ps(o);
    // One key at a time; the other is 0 in both factors.
    sum = _mm512_mask_mov_ps(
        sum, v.sees_odd, dot_pairs(sum, _mm512_and_si512(pair, high), _mm512_and_si512(p, high)));
    sum = _mm512_mask_mov_ps(
        sum, v.sees_even,
        dot_pairs(sum, _mm512_andnot_si512(high, pair), _mm512_andnot_si512(high, p)));
    _mm512_storeu_ps(o, sum);
  }
}

bool interleave_rows(const RowPair& rows) noexcept {
  const Interleave order;
  bool non_finite = false;
  std::uint32_t* out = rows.out;
  for (std::int64_t c = 0; c < rows.n; c += 32) {
    const std::int64_t left = rows.n - c;
    const __mmask32 valid = left >= 32 ? ~__mmask32{0} : (__mmask32{1} << left) - 1;
    __m512i even = _mm512_setzero_si512(), odd = even;
    if (rows.even != nullptr) even = _mm512_maskz_loadu_epi16(valid, rows.even + c);
    if (rows.odd != nullptr) odd = _mm512_maskz_loadu_epi16(valid, rows.odd + c);
    non_finite |= has_non_finite(even) || has_non_finite(odd);
    const __m512i low = order.lower(even, odd), high = order.upper(even, odd);
    const __m256i eights[4] = {_mm512_castsi512_si256(low), _mm512_extracti64x4_epi64(low, 1),
                               _mm512_castsi512_si256(high), _mm512_extracti64x4_epi64(high, 1)};
    for (std::int64_t i = 0; i < 4 && i * kTileRows < left; ++i, out += rows.tile_stride) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), eights[i]);
    }
  }
  return non_finite;
}

}  // namespace raptly::bf16_leaf
#endif
