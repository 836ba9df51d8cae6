// What a Bias is made of: slopes, buckets and tables against transformers, pairs by hand, bad
// input.
#include "raptly/bias.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "mask/bias_terms.h"
#include "mask/rule.h"
#include "raptly/error.h"
#include "raptly/mask.h"

namespace raptly {
namespace {

std::vector<std::string> golden_lines(const std::string& kind) {
  std::ifstream file(std::string(RAPTLY_SOURCE_DIR) + "/src/mask/testdata/bias_goldens.txt");
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(kind + " ")) lines.push_back(line.substr(kind.size() + 1));
  }
  return lines;
}

// Asks pairs of one sequence; keeps what the description points into.
struct Pairs {
  Bias bias;
  Mask mask;
  ScoreBias scores;

  Pairs(Bias of, std::int64_t q_len, std::int64_t kv_len, Mask placed = {})
      : bias(std::move(of)),
        mask(std::move(placed)),
        scores(score_bias(*bias.terms(),
                          mask_detail::place_mask(mask, bottom_right_scope(q_len, kv_len, 0, 0)))) {
  }
  double operator()(std::int64_t head, std::int64_t query, std::int64_t key) const {
    return bias_of_pair(scores, head, query, key);
  }
};

template <class F>
std::string message_of(F&& f, ErrorCode code = ErrorCode::kInvalidArgument) {
  try {
    f();
    return "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code);
    return error.what();
  }
}

// Semantics 10.
TEST(Bias, AlibiSlopesAreTransformers) {
  int n_lines = 0;
  for (const std::string& line : golden_lines("slopes")) {
    std::istringstream in(line);
    std::string style;
    std::int64_t n = 0;
    in >> style >> n;
    const std::vector<float> slopes =
        bias::alibi_slopes(n, style == "mpt" ? bias::AlibiStyle::kMpt : bias::AlibiStyle::kPress);
    ASSERT_EQ(slopes.size(), static_cast<std::size_t>(n));
    for (const float slope : slopes) {
      float expected = 0;
      in >> expected;
      EXPECT_NEAR(slope, expected, 1e-6 * static_cast<double>(expected)) << style << " " << n;
    }
    ++n_lines;
  }
  EXPECT_EQ(n_lines, 22);
  EXPECT_EQ(bias::alibi_slopes(6, bias::AlibiStyle::kBloom), bias::alibi_slopes(6));
  EXPECT_EQ(bias::alibi_slopes(4, bias::AlibiStyle::kPress, 4),
            (std::vector<float>{0.5f, 0.25f, 0.125f, 0.0625f}));
}

TEST(Bias, T5BucketsAreTransformers) {
  int n_lines = 0;
  for (const std::string& line : golden_lines("t5")) {
    std::istringstream in(line);
    std::int64_t bidirectional = 0, buckets = 0, distance = 0;
    in >> bidirectional >> buckets >> distance;
    std::vector<float> table;  // of two heads
    for (std::int64_t b = 0; b < buckets; ++b) {
      table.push_back(static_cast<float>(b));
      table.push_back(static_cast<float>(-b));
    }
    const std::int64_t n = 2 * distance + 41;
    const Bias t5 = bias::t5({table.data(), {buckets, 2}}, bidirectional != 0, distance);
    const Pairs pairs(t5, 1, n, mask::positions({distance + 20}));
    for (std::int64_t i = 0; i < n; ++i) {
      double expected = 0;
      in >> expected;
      EXPECT_EQ(pairs(0, 0, i), expected) << line.substr(0, 12) << " at " << i - distance - 20;
      EXPECT_EQ(pairs(1, 0, i), -expected);
    }
    ++n_lines;
  }
  EXPECT_EQ(n_lines, 8);
}

// Semantics 11: positions are those of the mask, bottom right unless it says otherwise.
TEST(Bias, PairsByHand) {
  const Pairs alibi(bias::alibi({{0.5f, 2}, {1, 1}}), 2, 5);
  EXPECT_EQ(alibi(0, 0, 3), 0);     // query 0 stands at 3
  EXPECT_EQ(alibi(0, 0, 4), -0.5);  // ahead of it
  EXPECT_EQ(alibi(1, 1, 1), -6);
  const Mask lengths = mask::lengths({2}, {3});
  EXPECT_EQ(Pairs(bias::alibi({1}), 4, 6, lengths)(0, 0, 0), -1);
  const Mask packed = mask::packed({0, 2, 5}, {0, 3, 9});
  EXPECT_EQ(Pairs(bias::alibi({1}), 5, 9, packed)(0, 2, 3), -3);
  EXPECT_EQ(Pairs(bias::alibi({1}), 5, 9, packed)(0, 4, 8), 0);

  const std::vector<float> table = {1, 2, 3, 4, 5, 6};
  const Pairs relative(bias::relative({table.data(), {2, 3}}), 3, 5);
  EXPECT_EQ(relative(0, 0, 0), 1);  // two behind: clamped
  EXPECT_EQ(relative(0, 0, 1), 1);
  EXPECT_EQ(relative(0, 0, 2), 2);
  EXPECT_EQ(relative(1, 0, 3), 6);
  EXPECT_EQ(relative(1, 0, 4), 6);

  std::vector<Bf16> numbers;
  for (const float x : {1.0f, -INFINITY, -1e9f, 8.0f}) numbers.push_back(to_bf16(x));
  const std::int64_t sizes[] = {1, 2, 1, 2}, strides[] = {7, 2, 9, 1};
  const Pairs dense(bias::dense({numbers.data(), DType::kBf16, TensorShape(sizes, strides)}), 3, 2);
  EXPECT_EQ(dense(0, 2, 0), 1);
  EXPECT_EQ(dense(0, 2, 1), -INFINITY);
  EXPECT_EQ(dense(1, 0, 0), -4194048);
  EXPECT_EQ(dense(1, 1, 1), 8);
}

TEST(Bias, TableTurnedRound) {
  const std::vector<float> table = {1, 2, 3, 4, 5, 6};
  const Bias bias = bias::relative({table.data(), {2, 3}});
  const auto pad = static_cast<std::size_t>(bias_detail::kTablePad);
  const std::vector<float> turned = table_by_query(*bias.terms(), 2);
  // d = q - k = -1, 0, 1 of both heads.
  for (std::size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(turned[2 * pad + i], (std::vector<float>{3, 6, 2, 5, 1, 4})[i]);
  }
  EXPECT_EQ(turned.front(), 3);
  EXPECT_EQ(turned.back(), 4);
}

TEST(BiasErrors, Alibi) {
  using Rows = std::vector<std::vector<float>>;
  EXPECT_EQ(message_of([] { bias::alibi(std::vector<float>{}); }),
            "[alibi] there are no slopes. Give one for each head.");
  EXPECT_EQ(message_of([] { bias::alibi(Rows{{1, 2}, {1}}); }),
            "[alibi] batch entry 1 has 1 slopes, batch entry 0 has 2. They must be equal.");
  EXPECT_EQ(message_of([] { bias::alibi(std::vector<float>{1, NAN}); }),
            "[alibi] slopes[1] is nan. It must be a number of at most 2^64 in size.");
  EXPECT_EQ(message_of([] { bias::alibi(Rows{{1, 2}, {1, INFINITY}}); }),
            "[alibi] slopes[1, 1] is inf. It must be a number of at most 2^64 in size.");
  EXPECT_EQ(message_of([] { bias::alibi_slopes(0); }),
            "[alibi_slopes] n_heads is 0. It must be 1 .. 65536.");
  EXPECT_EQ(message_of([] { bias::alibi_slopes(4, bias::AlibiStyle::kMpt, -1); }),
            "[alibi_slopes] bias_max is -1. It must be above 0, at most 64.");
}

TEST(BiasErrors, Tables) {
  std::vector<float> x(64);
  EXPECT_EQ(message_of([&] { bias::relative({x.data(), {8}}); }),
            "[relative] table has shape [8]. It must have rank 2: [n_heads, 2 * max - 1].");
  const auto repeated = [&](std::int64_t rows, std::int64_t columns) {
    const std::int64_t sizes[] = {rows, columns}, strides[] = {0, 0};
    return TensorView(x.data(), DType::kF32, TensorShape(sizes, strides));
  };
  const auto too_large = [](auto&& f) { return message_of(f, ErrorCode::kOutOfMemory); };
  constexpr std::int64_t kMany = (std::int64_t{1} << 31) - 1;
  EXPECT_EQ(too_large([&] { bias::relative(repeated(2, kMany)); }),
            "[relative] n_heads 2 and offsets up to 1073741823 need 2147484159 entries a head. At "
            "most 2^28 are allowed.");
  EXPECT_EQ(too_large([&] { bias::t5(repeated(32, 64), true, 1 << 24); }),
            "[t5] n_heads 64 and offsets up to 16777216 need 33554945 entries a head. At most "
            "2^28 are allowed.");
  EXPECT_EQ(too_large([&] { bias::t5(repeated(1 << 24, 64), false, 1 << 24); }).substr(0, 4),
            "[t5]");
  EXPECT_EQ(message_of([&] { bias::relative({x.data(), {2, 4}}); }),
            "[relative] table has 4 columns. There must be 2 * max - 1, an odd number below 2^32.");
  EXPECT_EQ(message_of([&] { bias::relative({x.data(), {0, 3}}); }),
            "[relative] table has shape [0, 3]. It must not be empty.");
  EXPECT_EQ(message_of([&] { bias::relative({static_cast<const float*>(nullptr), {2, 3}}); }),
            "[relative] table has shape [2, 3] and no data.");
  EXPECT_EQ(message_of([&] { bias::t5({x.data(), {2, 32}}, true, 128); }),
            "[t5] table has 2 buckets. There must be at least 4 when it is bidirectional.");
  EXPECT_EQ(message_of([&] { bias::t5({x.data(), {32, 2}}, false, 16); }),
            "[t5] max_distance is 16. It must be more than 16, half the buckets of a direction, at "
            "most 16777216.");
  x[3] = -INFINITY;
  EXPECT_EQ(message_of([&] { bias::t5({x.data(), {32, 2}}, true, 128); }),
            "[t5] table[1, 1] is -inf. It must be a number of at most 2^64 in size.");
  EXPECT_EQ(message_of([&] { bias::dense({x.data(), {4, 4}}); }),
            "[dense] the bias has shape [4, 4]. It must have rank 4: [batch, n_heads, q_len, "
            "kv_len], each of them or 1.");
}

}  // namespace
}  // namespace raptly
