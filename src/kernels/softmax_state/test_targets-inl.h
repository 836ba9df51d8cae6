#if defined(RAPTLY_SOFTMAX_TEST_TARGETS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RAPTLY_SOFTMAX_TEST_TARGETS_INL_H
#undef RAPTLY_SOFTMAX_TEST_TARGETS_INL_H
#else
#define RAPTLY_SOFTMAX_TEST_TARGETS_INL_H
#endif

#include "kernels/softmax_state/softcap-inl.h"
#if RAPTLY_TARGET_ENABLED
RAPTLY_BEFORE_TARGET();
namespace raptly {
namespace RAPTLY_TARGET {

void test_pow2(const float* s, float m, std::int64_t n, float* out) {
  const Pow2Base base(set(m));
  for (std::int64_t i = 0; i < n; i += kLanes) store(pow2(load(s + i), base), out + i);
}
void test_nearest_even(const float* x, std::int64_t n, float* out) {
  for (std::int64_t i = 0; i < n; i += kLanes) store(nearest_even(load(x + i)), out + i);
}
void test_tanh(const float* x, std::int64_t n, float* out) {
  for (std::int64_t i = 0; i < n; i += kLanes) store(tanh_lanes(load(x + i)), out + i);
}

}  // namespace RAPTLY_TARGET
}  // namespace raptly
RAPTLY_AFTER_TARGET();
#endif
#endif
