#include "kernels/rope/rope.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <numbers>
#include <random>
#include <vector>

#include "kernels/rope/rope_frequencies.h"
#include "raptly/error.h"

namespace raptly {
namespace {

std::vector<float> normal(std::size_t n, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> draw;
  std::vector<float> x(n);
  for (float& v : x) v = draw(random);
  return x;
}

struct Case {
  int head_dim, rotary_dim;
  std::int64_t n_heads, row_stride;
  RopeStyle style;
};

const std::vector<Case> kCases = {
    {64, 64, 9, 9 * 64, RopeStyle::kHalf}, {64, 64, 3, 200, RopeStyle::kInterleaved},
    {80, 32, 2, 161, RopeStyle::kHalf},    {80, 32, 2, 161, RopeStyle::kInterleaved},
    {6, 6, 3, 18, RopeStyle::kHalf},       {34, 34, 1, 34, RopeStyle::kHalf},
};

TEST(Rope, TurnsEachPairByItsAngle) {
  const std::vector<std::int64_t> positions = {0, 1, 7, 700, 131071};
  for (const Case& c : kCases) {
    RopeOptions options;
    options.rotary_dim = c.rotary_dim;
    const RopeFrequencies frequencies = rope_frequencies(options);
    const std::size_t pairs = static_cast<std::size_t>(c.rotary_dim / 2);
    std::vector<float> cos(positions.size() * pairs), sin(cos.size());
    rope_table(frequencies, positions, cos.data(), sin.data());
    const std::vector<float> x =
        normal(positions.size() * static_cast<std::size_t>(c.row_stride), 1);
    for (const Isa isa : supported_isas()) {
      std::vector<float> y = x, want = x;
      rope({y.data(), c.row_stride, static_cast<std::int64_t>(positions.size()), c.n_heads,
            c.head_dim, c.rotary_dim, c.style},
           cos.data(), sin.data(), isa);
      for (std::size_t r = 0; r < positions.size(); ++r) {
        for (std::size_t h = 0; h < static_cast<std::size_t>(c.n_heads); ++h) {
          const std::size_t at =
              r * static_cast<std::size_t>(c.row_stride) + h * static_cast<std::size_t>(c.head_dim);
          for (std::size_t i = 0; i < pairs; ++i) {
            const bool half = c.style == RopeStyle::kHalf;
            const std::size_t i1 = at + (half ? i : 2 * i), i2 = half ? i1 + pairs : i1 + 1;
            const double angle = static_cast<double>(positions[r]) *
                                 std::pow(10000.0, -2.0 * static_cast<double>(i) / c.rotary_dim);
            want[i1] = static_cast<float>(x[i1] * std::cos(angle) - x[i2] * std::sin(angle));
            want[i2] = static_cast<float>(x[i2] * std::cos(angle) + x[i1] * std::sin(angle));
          }
        }
      }
      for (std::size_t i = 0; i < y.size(); ++i) ASSERT_NEAR(y[i], want[i], 1e-6) << i;
    }
  }
}

TEST(Rope, LevelsAndStylesEqualInBits) {
  RopeOptions options;
  options.rotary_dim = 64;
  const std::vector<std::int64_t> positions = {3, 4, 5};
  std::vector<float> cos(3 * 32), sin(3 * 32);
  rope_table(rope_frequencies(options), positions, cos.data(), sin.data());
  const std::vector<float> x = normal(3 * 128, 2);
  std::vector<float> swapped(x.size());  // x with its pairs where the interleaved style wants them
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::size_t head = i / 64 * 64, d = i % 64;
    swapped[head + (d < 32 ? 2 * d : 2 * (d - 32) + 1)] = x[i];
  }
  std::vector<float> first;
  for (const Isa isa : supported_isas()) {
    std::vector<float> half = x, interleaved = swapped;
    rope({half.data(), 128, 3, 2, 64, 64, RopeStyle::kHalf}, cos.data(), sin.data(), isa);
    rope({interleaved.data(), 128, 3, 2, 64, 64, RopeStyle::kInterleaved}, cos.data(), sin.data(),
         isa);
    if (first.empty()) first = half;
    EXPECT_EQ(std::memcmp(first.data(), half.data(), half.size() * sizeof(float)), 0)
        << isa_name(isa);
    for (std::size_t i = 0; i < x.size(); ++i) {
      const std::size_t head = i / 64 * 64, d = i % 64;
      ASSERT_EQ(half[i], interleaved[head + (d < 32 ? 2 * d : 2 * (d - 32) + 1)]);
    }
  }
}

TEST(RopeFrequencies, Linear) {
  RopeOptions options{8, 500.0, {}, {}};
  options.scaling.kind = RopeScalingKind::kLinear;
  options.scaling.factor = 4;
  const RopeFrequencies f = rope_frequencies(options);
  ASSERT_EQ(f.inv_freq.size(), 4u);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_DOUBLE_EQ(f.inv_freq[i], 1 / std::pow(500.0, static_cast<double>(i) / 4) / 4);
  }
  EXPECT_EQ(f.attention_factor, 1);
}

// Values printed by transformers 5 (_compute_llama3_parameters, _compute_yarn_parameters), f32.
TEST(RopeFrequencies, Llama3AsTransformers) {
  RopeOptions options{16, 10000.0, {}, {}};
  options.scaling.kind = RopeScalingKind::kLlama3;
  options.scaling.factor = 8;
  options.scaling.original_max_positions = 512;
  const RopeFrequencies f = rope_frequencies(options);
  const std::vector<double> want = {1,
                                    0.316227764,
                                    0.100000001,
                                    0.0184966773,
                                    0.00124999997,
                                    0.000395284733,
                                    0.000125000006,
                                    3.95284733e-05};
  for (std::size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(f.inv_freq[i] / want[i], 1, 1e-6) << i;
}

TEST(RopeFrequencies, YarnAsTransformers) {
  RopeOptions options{16, 10000.0, {}, {}};
  options.scaling.kind = RopeScalingKind::kYarn;
  options.scaling.factor = 4;
  options.scaling.original_max_positions = 2048;
  RopeFrequencies f = rope_frequencies(options);
  const std::vector<double> want = {1,
                                    0.316227764,
                                    0.100000001,
                                    0.025693506,
                                    0.00624999963,
                                    0.00138349656,
                                    0.000250000012,
                                    7.90569466e-05};
  for (std::size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(f.inv_freq[i] / want[i], 1, 1e-6) << i;
  EXPECT_NEAR(f.attention_factor, 1.13862944, 1e-6);
  options.scaling.truncate = false;
  options.scaling.mscale = 0.7;
  options.scaling.mscale_all_dim = 1.3;
  f = rope_frequencies(options);
  const std::vector<double> smooth = {1,
                                      0.316227764,
                                      0.100000001,
                                      0.0238701962,
                                      0.00505697168,
                                      0.000811290462,
                                      0.000250000012,
                                      7.90569466e-05};
  for (std::size_t i = 0; i < smooth.size(); ++i)
    EXPECT_NEAR(f.inv_freq[i] / smooth[i], 1, 1e-6) << i;
  EXPECT_NEAR(f.attention_factor, 0.929523492, 1e-6);
  options.scaling.attention_factor = 0.25;
  EXPECT_EQ(rope_frequencies(options).attention_factor, 0.25);
}

TEST(RopeFrequencies, DivisorsDivide) {
  RopeOptions options{4, 100.0, {}, {2.0, 8.0}};
  const RopeFrequencies f = rope_frequencies(options);
  EXPECT_DOUBLE_EQ(f.inv_freq[0], 0.5);
  EXPECT_DOUBLE_EQ(f.inv_freq[1], 0.1 / 8);
}

void expect_rejected(const RopeOptions& options, const std::string& part) {
  try {
    rope_frequencies(options);
    FAIL() << "accepted: " << part;
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kInvalidArgument);
    EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
  }
}

TEST(RopeFrequencies, SaysWhatIsWrong) {
  expect_rejected({7, 10000.0, {}, {}}, "rotary_dim is 7");
  expect_rejected({0, 10000.0, {}, {}}, "rotary_dim is 0");
  expect_rejected({8, -1.0, {}, {}}, "theta is -1");
  expect_rejected({8, 10000.0, {}, {1, 2, 3}}, "3 frequency divisors");
  expect_rejected({8, 10000.0, {}, {1, 0, 3, 4}}, "divisor is 0");
  RopeOptions options{8, 10000.0, {}, {}};
  options.scaling.kind = RopeScalingKind::kLinear;
  options.scaling.factor = 0;
  expect_rejected(options, "scaling factor is 0");
  options.scaling = {};
  options.scaling.kind = RopeScalingKind::kYarn;
  expect_rejected(options, "original_max_positions");
  options.scaling.kind = RopeScalingKind::kLlama3;
  options.scaling.original_max_positions = 100;
  options.scaling.low_freq_factor = 4;
  expect_rejected(options, "low_freq_factor is 4");
}

}  // namespace
}  // namespace raptly
