#include "kernels/norm/rms_norm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace raptly {
namespace {

std::vector<float> normal(std::size_t n, std::uint64_t seed, float deviation = 1) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> draw(0, deviation);
  std::vector<float> x(n);
  for (float& v : x) v = draw(random);
  return x;
}

TEST(RmsNorm, AgreesWithF64AtOddSizesAndStrides) {
  for (const std::int64_t n : {1, 3, 15, 16, 17, 48, 576, 1001}) {
    const std::int64_t rows = 3, x_stride = n + 5, y_stride = n + 2;
    const std::vector<float> x = normal(static_cast<std::size_t>(rows * x_stride), 1, 30);
    const std::vector<float> weight = normal(static_cast<std::size_t>(n), 2);
    for (const Isa isa : supported_isas()) {
      std::vector<float> y(static_cast<std::size_t>(rows * y_stride), 42);
      rms_norm({x.data(), x_stride, y.data(), y_stride, rows, n}, weight.data(), 1e-5, isa);
      for (std::int64_t r = 0; r < rows; ++r) {
        double squares = 0;
        for (std::int64_t i = 0; i < n; ++i) {
          const double v = x[static_cast<std::size_t>(r * x_stride + i)];
          squares += v * v;
        }
        const double inverse = 1 / std::sqrt(squares / static_cast<double>(n) + 1e-5);
        for (std::int64_t i = 0; i < n; ++i) {
          const double want = x[static_cast<std::size_t>(r * x_stride + i)] * inverse *
                              static_cast<double>(weight[static_cast<std::size_t>(i)]);
          ASSERT_NEAR(y[static_cast<std::size_t>(r * y_stride + i)], want,
                      3e-7 * std::fabs(want) + 1e-12);
        }
        EXPECT_EQ(y[static_cast<std::size_t>(r * y_stride + n)], 42) << "wrote beyond the row";
      }
    }
  }
}

TEST(RmsNorm, LevelsEqualInBits) {
  for (const std::int64_t n : {1, 17, 100, 576}) {
    const std::vector<float> x = normal(static_cast<std::size_t>(n), 3);
    const std::vector<float> weight = normal(static_cast<std::size_t>(n), 4);
    std::vector<float> first(x.size()), y(x.size());
    rms_norm({x.data(), n, first.data(), n, 1, n}, weight.data(), 1e-6, supported_isas().front());
    for (const Isa isa : supported_isas()) {
      rms_norm({x.data(), n, y.data(), n, 1, n}, weight.data(), 1e-6, isa);
      EXPECT_EQ(first, y) << isa_name(isa);
    }
  }
}

TEST(RmsNorm, NanReachesItsRowOnly) {
  std::vector<float> x = normal(64, 5), y(64), weight(32, 1.0f);
  x[40] = std::numeric_limits<float>::quiet_NaN();
  rms_norm({x.data(), 32, y.data(), 32, 2, 32}, weight.data(), 1e-5, best_isa());
  for (std::size_t i = 0; i < 32; ++i) {
    EXPECT_FALSE(std::isnan(y[i]));
    EXPECT_TRUE(std::isnan(y[32 + i]));
  }
}

}  // namespace
}  // namespace raptly
