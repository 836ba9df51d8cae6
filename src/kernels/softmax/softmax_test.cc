#include "kernels/softmax/softmax.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

namespace raptly {
namespace {

std::vector<float> logits(std::size_t n, float deviation) {
  std::mt19937_64 random(n);
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> x(n);
  for (float& v : x) v = normal(random);
  return x;
}

TEST(Softmax, AgreesWithF64) {
  for (const std::size_t n : {1u, 5u, 16u, 17u, 1023u, 1024u, 1041u, 49152u}) {
    for (const float temperature : {0.2f, 1.0f, 3.0f}) {
      const std::vector<float> x = logits(n, 4);
      const double shift = *std::max_element(x.begin(), x.end());
      double sum = 0;
      for (const float v : x) sum += std::exp((v - shift) / static_cast<double>(temperature));
      std::vector<float> p(n);
      for (const Isa isa : supported_isas()) {
        const float top =
            softmax(x.data(), static_cast<std::int64_t>(n), 1 / temperature, p.data(), isa);
        for (std::size_t i = 0; i < n; ++i) {
          const double z = (x[i] - shift) / static_cast<double>(temperature);
          const double want = std::exp(z) / sum;
          // Rounding z itself moves p by |z| half-ulps.
          ASSERT_NEAR(p[i], want, want * (1e-6 + 2e-7 * std::fabs(z)) + 1e-37) << n << " " << i;
        }
        EXPECT_EQ(top, *std::max_element(p.begin(), p.end()));
      }
    }
  }
}

TEST(Softmax, LevelsEqualInBits) {
  for (const std::size_t n : {1u, 9u, 100u, 5000u, 49152u}) {
    const std::vector<float> x = logits(n, 8);
    std::vector<float> first(n), p(n);
    softmax(x.data(), static_cast<std::int64_t>(n), 0.7f, first.data(), supported_isas().front());
    for (const Isa isa : supported_isas()) {
      softmax(x.data(), static_cast<std::int64_t>(n), 0.7f, p.data(), isa);
      EXPECT_EQ(std::memcmp(first.data(), p.data(), n * sizeof(float)), 0) << isa_name(isa);
    }
  }
}

TEST(Softmax, MinusInfinityIsZeroAndNanSpreads) {
  std::vector<float> x = logits(40, 1);
  x[3] = -std::numeric_limits<float>::infinity();
  x[39] = -std::numeric_limits<float>::infinity();
  std::vector<float> p(40);
  for (const Isa isa : supported_isas()) {
    softmax(x.data(), 40, 1, p.data(), isa);
    EXPECT_EQ(p[3], 0);
    EXPECT_EQ(p[39], 0);
    EXPECT_NEAR(std::accumulate(p.begin(), p.end(), 0.0), 1, 1e-6);
  }
  x[7] = std::numeric_limits<float>::quiet_NaN();
  for (const Isa isa : supported_isas()) {
    softmax(x.data(), 40, 1, p.data(), isa);
    for (const float v : p) EXPECT_TRUE(std::isnan(v));
  }
}

}  // namespace
}  // namespace raptly
