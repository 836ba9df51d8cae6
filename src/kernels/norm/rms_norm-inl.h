#if defined(RAPTLY_RMS_NORM_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RAPTLY_RMS_NORM_INL_H
#undef RAPTLY_RMS_NORM_INL_H
#else
#define RAPTLY_RMS_NORM_INL_H
#endif

#include "kernels/norm/rms_norm.h"
#include "kernels/simd/vec-inl.h"
#if RAPTLY_TARGET_ENABLED
RAPTLY_BEFORE_TARGET();
namespace raptly {
namespace RAPTLY_TARGET {

inline float sum_of_squares(const float* x, std::int64_t n) {
  alignas(64) float part[16];
  Vf sum[16 / kLanes];
  each<16 / kLanes>([&](auto j) RAPTLY_LAMBDA { sum[j] = zero(); });
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    each<16 / kLanes>([&](auto j) RAPTLY_LAMBDA {
      const Vf v = load(x + i + j * kLanes);
      sum[j] = fma(v, v, sum[j]);
    });
  }
  each<16 / kLanes>([&](auto j) RAPTLY_LAMBDA { store(sum[j], part + j * kLanes); });
  for (int t = 0; i < n; ++i, ++t) part[t] = std::fma(x[i], x[i], part[t]);
  for (int half = 8; half > 0; half /= 2) {
    for (int t = 0; t < half; ++t) part[t] += part[t + half];
  }
  return part[0];
}

void rms_norm_rows(const RmsNormRows& rows, const float* weight, double eps) {
  const std::int64_t n = rows.n;
  const float* x = rows.x;
  float* y = rows.y;
  for (std::int64_t r = 0; r < rows.n_rows; ++r, x += rows.x_stride, y += rows.y_stride) {
    const double mean = static_cast<double>(sum_of_squares(x, n)) / static_cast<double>(n);
    const float inv = static_cast<float>(1.0 / std::sqrt(mean + eps));
    std::int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
      store(mul(mul(load(x + i), set(inv)), load(weight + i)), y + i);
    }
    for (; i < n; ++i) y[i] = x[i] * inv * weight[i];
  }
}

}  // namespace RAPTLY_TARGET
}  // namespace raptly
RAPTLY_AFTER_TARGET();
#endif
#endif
