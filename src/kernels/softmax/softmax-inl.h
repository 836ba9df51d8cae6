#if defined(RAPTLY_SOFTMAX_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RAPTLY_SOFTMAX_INL_H
#undef RAPTLY_SOFTMAX_INL_H
#else
#define RAPTLY_SOFTMAX_INL_H
#endif

#include "kernels/activation/exp-inl.h"
#if RAPTLY_TARGET_ENABLED
RAPTLY_BEFORE_TARGET();
namespace raptly {
namespace RAPTLY_TARGET {

inline float row_max(const float* x, std::int64_t n) {
  alignas(64) float part[kLanes];
  Vf best = set(x[0]);
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) best = max(load(x + i), best);  // a NaN in x is skipped
  store(best, part);
  float m = part[0];
  for (int t = 1; t < kLanes; ++t) m = part[t] > m ? part[t] : m;
  for (; i < n; ++i) m = x[i] > m ? x[i] : m;
  return m;
}

// p = exp((x - shift) * factor) over at most 1,024 elements; returns their sum.
inline float exp_block(const float* x, float shift, float factor, std::int64_t n, float* p) {
  alignas(64) float part[16], tail[16];
  Vf sum[16 / kLanes];
  each<16 / kLanes>([&](auto j) RAPTLY_LAMBDA { sum[j] = zero(); });
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    each<16 / kLanes>([&](auto j) RAPTLY_LAMBDA {
      const Vf v = mul(sub(load(x + i + j * kLanes), set(shift)), set(factor));
      const Vf e = exp_lanes(v);
      store(e, p + i + j * kLanes);
      sum[j] = add(sum[j], e);
    });
  }
  if (i < n) {
    const std::size_t rest = static_cast<std::size_t>(n - i);
    for (std::size_t t = 0; t < 16; ++t) tail[t] = t < rest ? (x[i + t] - shift) * factor : -100.0f;
    each<16 / kLanes>([&](auto j) RAPTLY_LAMBDA {
      const Vf e = exp_lanes(load(tail + j * kLanes));  // beyond n: exactly 0
      store(e, tail + j * kLanes);
      sum[j] = add(sum[j], e);
    });
    std::memcpy(p + i, tail, rest * sizeof(float));
  }
  each<16 / kLanes>([&](auto j) RAPTLY_LAMBDA { store(sum[j], part + j * kLanes); });
  for (int half = 8; half > 0; half /= 2) {
    for (int t = 0; t < half; ++t) part[t] += part[t + half];
  }
  return part[0];
}

float softmax_row(const float* x, std::int64_t n, float factor, float* p) {
  const float shift = row_max(x, n);
  double sum = 0;
  for (std::int64_t i = 0; i < n; i += 1024) {
    const std::int64_t count = n - i < 1024 ? n - i : 1024;
    sum += static_cast<double>(exp_block(x + i, shift, factor, count, p + i));
  }
  const float inverse = static_cast<float>(1.0 / sum);
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(mul(load(p + i), set(inverse)), p + i);
  for (; i < n; ++i) p[i] *= inverse;
  return inverse;
}

}  // namespace RAPTLY_TARGET
}  // namespace raptly
RAPTLY_AFTER_TARGET();
#endif
#endif
