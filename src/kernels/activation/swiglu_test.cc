#include "kernels/activation/swiglu.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

namespace raptly {
namespace {

double silu(double x) { return x / (1 + std::exp(-x)); }

// f32 values from the whole range of exponents that silu meets, both signs.
std::vector<float> spread(std::size_t n, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<double> exponent(-30, 6.4);
  std::vector<float> x(n);
  for (std::size_t i = 0; i < n; ++i) {
    x[i] = static_cast<float>(std::exp2(exponent(random)) * (random() % 2 == 0 ? 1 : -1));
  }
  return x;
}

TEST(Swiglu, AgreesWithF64) {
  const std::vector<float> gate = spread(100000, 1), up = spread(100000, 2);
  std::vector<float> out(gate.size());
  for (const Isa isa : supported_isas()) {
    swiglu(gate.data(), up.data(), static_cast<std::int64_t>(gate.size()), out.data(), isa);
    double worst = 0;
    for (std::size_t i = 0; i < gate.size(); ++i) {
      const double want = silu(gate[i]) * static_cast<double>(up[i]);
      if (std::fabs(want) < 1e-30 || std::fabs(gate[i]) > 87) continue;
      worst = std::max(worst, std::fabs(out[i] - want) / std::fabs(want));
    }
    EXPECT_LT(worst, 3e-7) << isa_name(isa);
  }
}

TEST(Swiglu, LevelsEqualInBitsAtOddSizes) {
  for (const std::size_t n : {1u, 2u, 7u, 8u, 15u, 16u, 17u, 31u, 33u, 1536u}) {
    const std::vector<float> gate = spread(n, n), up = spread(n, n + 1);
    std::vector<float> first(n), out(n + 1, 42.0f);
    swiglu(gate.data(), up.data(), static_cast<std::int64_t>(n), first.data(),
           supported_isas().front());
    for (const Isa isa : supported_isas()) {
      swiglu(gate.data(), up.data(), static_cast<std::int64_t>(n), out.data(), isa);
      EXPECT_EQ(std::memcmp(first.data(), out.data(), n * sizeof(float)), 0)
          << isa_name(isa) << " n " << n;
      EXPECT_EQ(out[n], 42.0f) << "wrote beyond the row";
    }
  }
}

TEST(Swiglu, EdgesAndNan) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> gate = {0, 200, -200, nan, 1, 88, -88};
  const std::vector<float> up = {5, 2, 3, 1, nan, 1, 1};
  std::vector<float> out(gate.size());
  for (const Isa isa : supported_isas()) {
    swiglu(gate.data(), up.data(), 7, out.data(), isa);
    EXPECT_EQ(out[0], 0);
    EXPECT_EQ(out[1], 400);
    EXPECT_NEAR(out[2], 0, 1e-30);
    EXPECT_TRUE(std::isnan(out[3]));
    EXPECT_TRUE(std::isnan(out[4]));
    EXPECT_EQ(out[5], 88);
    EXPECT_NEAR(out[6], 0, 1e-30);
  }
}

TEST(Swiglu, InPlace) {
  const std::vector<float> gate = spread(100, 3), up = spread(100, 4);
  std::vector<float> out(100), in_place = gate;
  swiglu(gate.data(), up.data(), 100, out.data(), best_isa());
  swiglu(in_place.data(), up.data(), 100, in_place.data(), best_isa());
  EXPECT_EQ(out, in_place);
}

}  // namespace
}  // namespace raptly
