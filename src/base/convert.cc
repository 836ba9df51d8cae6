#include "base/convert.h"

#include <algorithm>
#include <cstring>

#include "base/cpu_features.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace raptly {
namespace {

#if defined(__x86_64__)
// The instruction rounds as to_f16 does and ignores the flush-to-zero mode for its result; the
// denormal inputs that DAZ would drop are below half of the smallest f16 anyway.
__attribute__((target("avx,f16c"))) std::int64_t narrow_f16c(const float* in, std::int64_t n,
                                                             F16* out) {
  std::int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m128i half = _mm256_cvtps_ph(_mm256_loadu_ps(in + i), _MM_FROUND_TO_NEAREST_INT);
    std::memcpy(&out[i].bits, &half, sizeof(half));
  }
  return i;
}
#endif

}  // namespace

void narrow(const float* in, std::int64_t n, float* out) noexcept { std::copy_n(in, n, out); }

void narrow(const float* in, std::int64_t n, F16* out) noexcept {
  std::int64_t i = 0;
#if defined(__x86_64__)
  if (cpu_features().avx2) i = narrow_f16c(in, n, out);
#endif
  for (; i < n; ++i) out[i] = to_f16(in[i]);
}

void narrow(const float* in, std::int64_t n, Bf16* out) noexcept {
  for (std::int64_t i = 0; i < n; ++i) {
    std::uint32_t bits;
    std::memcpy(&bits, in + i, 4);
    const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
    const std::uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    out[i].bits = static_cast<std::uint16_t>(nan ? (bits >> 16 | 0x40) : rounded);
  }
}

}  // namespace raptly
