#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/softmax_state/softmax_state_test.cc"
#include "kernels/simd/targets.h"

#include "hwy/foreach_target.h"
#include "kernels/softmax_state/test_targets-inl.h"

#if HWY_ONCE
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/floating_point_mode.h"
#include "kernels/simd/dispatch.h"

namespace raptly {
namespace scalar {  // test_targets_scalar.cc
void test_pow2(const float* s, float m, std::int64_t n, float* out);
void test_nearest_even(const float* x, std::int64_t n, float* out);
void test_tanh(const float* x, std::int64_t n, float* out);
}  // namespace scalar

namespace {

constexpr float kInfinity = INFINITY;

std::vector<float> pow2(const std::vector<float>& s, float m, Isa isa) {
  const FloatingPointMode mode;
  std::vector<float> out(s.size());
  RAPTLY_DISPATCH(isa, test_pow2)(s.data(), m, static_cast<std::int64_t>(s.size()), out.data());
  return out;
}
std::vector<float> tanh(const std::vector<float>& x, Isa isa) {
  std::vector<float> out(x.size());
  RAPTLY_DISPATCH(isa, test_tanh)(x.data(), static_cast<std::int64_t>(x.size()), out.data());
  return out;
}

// n floats between a and b > a, every exponent on the way met (steps of equal bits).
std::vector<float> floats_between(float a, float b, std::int64_t n) {
  std::uint32_t from, to;
  std::memcpy(&from, &a, 4);
  std::memcpy(&to, &b, 4);
  std::vector<float> out(static_cast<std::size_t>(n));
  for (std::int64_t i = 0; i < n; ++i) {
    const std::uint32_t bits =
        from + static_cast<std::uint32_t>(static_cast<double>(to - from) * static_cast<double>(i) /
                                          static_cast<double>(n));
    std::memcpy(&out[static_cast<std::size_t>(i)], &bits, 4);
  }
  return out;
}

TEST(SoftmaxState, Pow2IsWithinItsErrorOnEveryLevel) {
  std::vector<float> s = floats_between(1e-6f, 126.0f, 1 << 18);
  const std::size_t n = s.size();
  for (std::size_t i = 0; i < n; ++i) s.push_back(-s[i]);
  for (Isa isa : supported_isas()) {
    const std::vector<float> p = pow2(s, 0, isa);
    double worst = 0;
    for (std::size_t i = 0; i < s.size(); ++i) {
      if (s[i] < -125) continue;
      const double exact = std::exp2(static_cast<double>(s[i]));
      worst = std::max(worst, std::fabs(static_cast<double>(p[i]) - exact) / exact);
    }
    EXPECT_LE(worst, 1.57e-7) << isa_name(isa);
    EXPECT_GE(worst, 1e-8) << "nothing was measured";
  }
}

TEST(SoftmaxState, LevelsAgreeToTheBit) {
  const std::vector<float> s = floats_between(1e-3f, 4e6f, 1 << 16);
  for (Isa isa : supported_isas()) {
    for (float m : {0.0f, 64.0f, 4194048.0f, -4194048.0f}) {
      std::vector<float> near = s;
      for (float& x : near) x = m - x;
      EXPECT_EQ(pow2(near, m, isa), pow2(near, m, Isa::kScalar)) << isa_name(isa) << ", m " << m;
    }
    EXPECT_EQ(tanh(s, isa), tanh(s, Isa::kScalar)) << isa_name(isa);
  }
}

TEST(SoftmaxState, MantissaDoesNotDependOnM) {
  for (Isa isa : supported_isas()) {
    const std::vector<float> s = floats_between(1.0f, 100.0f, 1 << 12);
    const std::vector<float> a = pow2(s, 100, isa), b = pow2(s, 60, isa);
    for (std::size_t i = 0; i < s.size(); ++i) {
      if (a[i] > 1e-36f) {
        ASSERT_EQ(a[i] * 0x1p40f, b[i]) << s[i];
      }
    }
  }
}

TEST(SoftmaxState, EdgesAreExact) {
  for (Isa isa : supported_isas()) {
    const std::vector<float> s = {0,          1,    -1,    -126, -127,   -200, -kInfinity, 7,
                                  -4194048.f, 0.5f, -0.5f, NAN,  -1e30f, 127,  -0.f,       2};
    const std::vector<float> p = pow2(s, 0, isa);
    EXPECT_EQ(p[0], 1);
    EXPECT_EQ(p[1], 2);
    EXPECT_EQ(p[2], 0.5f);
    EXPECT_EQ(p[3], 0x1p-126f);
    for (int zero : {4, 5, 6, 8, 12}) EXPECT_EQ(p[static_cast<std::size_t>(zero)], 0) << zero;
    EXPECT_EQ(p[9], 2 * p[10]);  // ties of rounding do not show
    EXPECT_TRUE(std::isnan(p[11]));
    EXPECT_EQ(p[13], 0x1p127f);
    // A row that saw nothing: m is the limit.
    EXPECT_EQ(pow2(std::vector<float>(16, -kInfinity), -4194048.0f, isa)[0], 0);
    EXPECT_EQ(pow2(std::vector<float>(16, -4194048.0f), -4194048.0f, isa)[0], 1);
  }
}

TEST(SoftmaxState, NearestEvenIsEvenAndNear) {
  std::vector<float> x = floats_between(0.01f, 4.1e6f, 1 << 12);
  for (std::size_t i = 0; i < x.size(); i += 2) x[i] = -x[i];
  for (Isa isa : supported_isas()) {
    std::vector<float> even(x.size());
    RAPTLY_DISPATCH(isa, test_nearest_even)
    (x.data(), static_cast<std::int64_t>(x.size()), even.data());
    for (std::size_t i = 0; i < x.size(); ++i) {
      ASSERT_EQ(std::fmod(even[i], 2.0f), 0.0f) << x[i];
      ASSERT_LE(std::fabs(even[i] - x[i]), 1.0f) << x[i];
    }
  }
}

TEST(Softcap, TanhIsWithinItsErrorOnEveryLevel) {
  std::vector<float> x = floats_between(1e-30f, 30.0f, 1 << 18);
  for (float near = 0.624f; near < 0.627f; near = std::nextafter(near, 1.0f)) x.push_back(near);
  x.resize(x.size() / 16 * 16);
  for (std::size_t i = 1; i < x.size(); i += 2) x[i] = -x[i];
  for (Isa isa : supported_isas()) {
    const std::vector<float> t = tanh(x, isa);
    double worst = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double exact = std::tanh(static_cast<double>(x[i]));
      worst = std::max(worst, std::fabs((static_cast<double>(t[i]) - exact) / exact));
    }
    EXPECT_LE(worst, 2.3e-7) << isa_name(isa);
    EXPECT_GE(worst, 2.2e-7) << "the worst argument, 0.62516, was not among them";
  }
}

TEST(Softcap, TanhEdges) {
  for (Isa isa : supported_isas()) {
    const std::vector<float> t = tanh({kInfinity, -kInfinity, NAN, 0.0f, -0.0f, 50.0f, -1e30f, 9.5f,
                                       0.624999f, 0.625f, 0.625001f, 1e-38f, 1, 2, 3, 4},
                                      isa);
    EXPECT_EQ(t[0], 1);
    EXPECT_EQ(t[1], -1);
    EXPECT_TRUE(std::isnan(t[2]));
    EXPECT_FALSE(std::signbit(t[3]));
    EXPECT_TRUE(std::signbit(t[4]));
    EXPECT_EQ(t[5], 1);
    EXPECT_EQ(t[6], -1);
    EXPECT_LE(t[8], t[9]);
    EXPECT_LE(t[9], t[10]);
    EXPECT_EQ(t[11], 1e-38f);
  }
}

}  // namespace
}  // namespace raptly
#endif
