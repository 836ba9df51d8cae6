#if defined(RAPTLY_ROPE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RAPTLY_ROPE_INL_H
#undef RAPTLY_ROPE_INL_H
#else
#define RAPTLY_ROPE_INL_H
#endif

#include "kernels/rope/rope.h"
#include "kernels/simd/vec-inl.h"
#if RAPTLY_TARGET_ENABLED
RAPTLY_BEFORE_TARGET();
namespace raptly {
namespace RAPTLY_TARGET {

inline void rope_head_half(float* x, const float* cos, const float* sin, int pairs) {
  float* x2 = x + pairs;
  int i = 0;
  for (; i + kLanes <= pairs; i += kLanes) {
    const Vf a = load(x + i), b = load(x2 + i), c = load(cos + i), s = load(sin + i);
    store(fma(a, c, sub(zero(), mul(b, s))), x + i);
    store(fma(b, c, mul(a, s)), x2 + i);
  }
  for (; i < pairs; ++i) {
    const float a = x[i], b = x2[i];
    x[i] = std::fma(a, cos[i], 0.0f - b * sin[i]);
    x2[i] = std::fma(b, cos[i], a * sin[i]);
  }
}

// Plain loops: no model on the hot path needs this style (the loaders turn the rows of interleaved
// weights into half style), and std::fma is one instruction here.
inline void rope_head_interleaved(float* x, const float* cos, const float* sin, int pairs) {
  for (int i = 0; i < pairs; ++i) {
    const float a = x[2 * i], b = x[2 * i + 1];
    x[2 * i] = std::fma(a, cos[i], 0.0f - b * sin[i]);
    x[2 * i + 1] = std::fma(b, cos[i], a * sin[i]);
  }
}

void rope_rows(const RopeRows& rows, const float* cos, const float* sin) {
  const int pairs = rows.rotary_dim / 2;
  const auto turn = rows.style == RopeStyle::kHalf ? &rope_head_half : &rope_head_interleaved;
  for (std::int64_t r = 0; r < rows.n_rows; ++r, cos += pairs, sin += pairs) {
    float* x = rows.x + r * rows.row_stride;
    for (std::int64_t h = 0; h < rows.n_heads; ++h, x += rows.head_dim) turn(x, cos, sin, pairs);
  }
}

}  // namespace RAPTLY_TARGET
}  // namespace raptly
RAPTLY_AFTER_TARGET();
#endif
#endif
