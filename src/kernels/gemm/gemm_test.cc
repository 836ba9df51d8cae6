#include "kernels/gemm/gemm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

namespace raptly {
namespace {

std::vector<float> random_values(std::int64_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<std::size_t>(n));
  for (float& x : values) x = normal(random);
  return values;
}
std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

// |c - reference| <= k u sum |a b|: one FMA chain of k steps.
void check_product(std::int64_t m, std::int64_t k, std::int64_t n, bool transposed, Isa isa) {
  const std::vector<float> a = random_values(m * k, 1), b = random_values(k * n, 2);
  const MatrixView rows{a.data(), m, k, k};
  std::vector<float> packed(at(gemm_packed_floats(k, n, isa)));
  for (std::int64_t p = 0; p * gemm_panel(isa) < n; ++p) {
    if (transposed) {
      gemm_pack_transposed({b.data(), n, k, k}, p, packed.data(), isa);
    } else {
      gemm_pack({b.data(), k, n, n}, p, packed.data(), isa);
    }
  }
  const std::int64_t width = (n + gemm_panel(isa) - 1) / gemm_panel(isa) * gemm_panel(isa);
  std::vector<float> c(at(m * width), 7.0f);
  gemm(rows, packed.data(), {c.data(), n, width}, isa);
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      double sum = 0, magnitude = 0;
      for (std::int64_t t = 0; t < k; ++t) {
        const double x = static_cast<double>(a[at(i * k + t)]) *
                         static_cast<double>(b[at(transposed ? j * k + t : t * n + j)]);
        sum += x;
        magnitude += std::fabs(x);
      }
      ASSERT_NEAR(static_cast<double>(c[at(i * width + j)]), sum,
                  static_cast<double>(k) * 0x1p-24 * magnitude)
          << isa_name(isa) << " " << m << " " << k << " " << n << ": " << i << ", " << j;
    }
  }
}

TEST(Gemm, AgreesWithDoubleLoops) {
  for (const Isa isa : supported_isas()) {
    for (const bool transposed : {false, true}) {
      check_product(1, 1, 1, transposed, isa);
      check_product(7, 33, 50, transposed, isa);
      check_product(17, 300, 49, transposed, isa);  // more than one slice of k
      check_product(9, 256, 96, transposed, isa);
      check_product(20, 70, 64, transposed, isa);  // a last panel of one vector, or two
      check_product(20, 70, 128, transposed, isa);
    }
  }
}

TEST(Gemm, SoftmaxRow) {
  for (const Isa isa : supported_isas()) {
    for (const std::int64_t visible : {0, 1, 5, 16, 61}) {
      const std::int64_t n = 64;
      std::vector<float> x = random_values(n, 3);  // in log2 units
      const std::vector<float> before = x;
      double sum = 0;
      for (std::int64_t i = 0; i < visible; ++i) sum += std::exp2(static_cast<double>(x[at(i)]));
      softmax_row(x.data(), visible, n, isa);
      for (std::int64_t i = 0; i < n; ++i) {
        const double expected =
            i < visible ? std::exp2(static_cast<double>(before[at(i)])) / sum : 0.0;
        EXPECT_NEAR(static_cast<double>(x[at(i)]), expected, 1e-6 * expected);
      }
    }
  }
}

}  // namespace
}  // namespace raptly
