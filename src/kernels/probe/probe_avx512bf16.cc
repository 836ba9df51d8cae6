// The burst of vdpbf16ps. Compiled with the flags of *_avx512bf16.cc (cmake/Rooms.cmake).
#if defined(__x86_64__)
#include <immintrin.h>

#include <cstdint>

namespace raptly::bf16_leaf {

// n steps of independent chains, more than two a cycle times six cycles of latency; returns the
// flops done.
double dot_burst(std::int64_t n, float* sink) noexcept {
  constexpr int kChains = 14;
  __m512 sum[kChains];
  const __m512 start = _mm512_set1_ps(sink[0]);
  const __m512bh a = (__m512bh)_mm512_set1_epi32(0x3f7f3f7f), b = (__m512bh)start;
  for (__m512& s : sum) s = start;
  for (std::int64_t i = 0; i < n; ++i) {
    for (__m512& s : sum) s = _mm512_dpbf16_ps(s, a, b);
  }
  for (const __m512& s : sum) sink[0] += _mm512_cvtss_f32(s);
  return 4.0 * static_cast<double>(n) * kChains * 16;
}

}  // namespace raptly::bf16_leaf
#endif
