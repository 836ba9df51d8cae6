#include "raptly/statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "attention/test_problem.h"
#include "mask/rule.h"
#include "raptly/error.h"

namespace raptly {
namespace {

using namespace attention_testing;

// A problem with its lse, and all its statistics.
struct StatisticsProblem {
  TestProblem problem;
  int top_k;
  std::vector<float> entropy, max, mass, weight;
  std::vector<std::int64_t> index;

  StatisticsProblem(const Sizes& s, DType q_dtype, DType kv_dtype, const Mask& mask, int k = 5,
                    bool permuted = false)
      : problem(s, q_dtype, kv_dtype, 31, permuted), top_k(k) {
    problem.options.mask = mask;
    if (q_dtype == DType::kF64) {
      problem.out = TestTensor(DType::kF64, {s.batch, s.q_len, s.n_heads, s.v_dim});
    }
    const auto rows = static_cast<std::size_t>(s.batch * s.n_heads * s.q_len);
    entropy.resize(rows, 9);
    max.resize(rows, 9);
    mass.resize(static_cast<std::size_t>(s.batch * s.n_heads * s.kv_len), 9);
    weight.resize(rows * static_cast<std::size_t>(k), 9);
    index.resize(rows * static_cast<std::size_t>(k), 9);
  }
  AttentionStatistics wanted() {
    const Sizes& s = problem.sizes;
    return {{entropy.data(), {s.batch, s.n_heads, s.q_len}},
            {max.data(), {s.batch, s.n_heads, s.q_len}},
            {mass.data(), {s.batch, s.n_heads, s.kv_len}},
            top_k,
            index,
            weight};
  }
  void run(ExecutionContext& context) {
    problem.run(context);
    attention_statistics(problem.q.view(), problem.k.view(), problem.lse_view(), wanted(),
                         problem.options, context);
  }
};

void expect_near(const std::vector<float>& got, const std::vector<float>& want, double gate,
                 const char* name) {
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (got[i] == want[i]) continue;  // infinities too
    ASSERT_NEAR(got[i], want[i], gate * std::max(1.0f, std::fabs(want[i]))) << name << " " << i;
  }
}

// f64 runs textbook loops.
void check_against_f64(StatisticsProblem& p, ExecutionContext& context) {
  p.run(context);
  StatisticsProblem want = p;
  want.problem.q = p.problem.q.as_f64();
  want.problem.k = p.problem.k.as_f64();
  want.problem.v = p.problem.v.as_f64();
  want.problem.out = p.problem.out.as_f64();
  want.run(context);
  expect_near(p.entropy, want.entropy, 1e-5, "entropy");
  expect_near(p.max, want.max, 1e-5, "max");
  expect_near(p.mass, want.mass, 1e-5, "column mass");
  expect_near(p.weight, want.weight, 1e-5, "weight");
  std::size_t different = 0;  // near ties may change places
  for (std::size_t i = 0; i < p.index.size(); ++i) different += p.index[i] != want.index[i];
  EXPECT_LE(different * 500, p.index.size());
}

TEST(Statistics, AgreeWithF64) {
  const Mask masks[] = {Mask(),
                        mask::causal(),
                        mask::causal() & mask::window(40, 0),
                        mask::longformer(16, {0, 150}),
                        mask::lengths({60, 0}, {150, 7}),
                        mask::dilated(5, std::vector<std::int64_t>{1, 2, 1, 3})};
  for (const Mask& mask : masks) {
    for (const DType kv : {DType::kF32, DType::kF16, DType::kBf16}) {
      StatisticsProblem p({2, 100, 200, 4, 2, 20, 8}, DType::kF32, kv, mask, 5, true);
      check_against_f64(p, default_context());
    }
    StatisticsProblem p({1, 50, 200, 4, 2, 20, 8}, DType::kBf16, DType::kBf16, mask);
    if (mask.rule() == nullptr || mask.rule()->batch() == 0)
      check_against_f64(p, default_context());
  }
}

TEST(Statistics, OddSizesSoftcapAndManyOnTop) {
  for (const std::int64_t head_dim : {1, 33}) {
    for (const int top_k : {0, 1, 70}) {
      StatisticsProblem p({1, 49, 61, 3, 1, head_dim, 8}, DType::kF32, DType::kF32, mask::causal(),
                          top_k);
      p.problem.options.softcap = 2.0f;
      p.problem.options.scale = -0.7f;
      check_against_f64(p, default_context());
    }
  }
}

TEST(Statistics, BiasesAndSinks) {
  std::vector<float> pairs(49 * 61);
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    pairs[i] = i % 5 == 0 ? -std::numeric_limits<float>::infinity() : static_cast<float>(i % 9) / 3;
  }
  const float sinks[] = {0.5f, -1, 2};
  const Bias biases[] = {bias::alibi({0.25f, 0.5f, 0}),
                         bias::dense(TensorView(pairs.data(), {1, 1, 49, 61}))};
  for (const Bias& bias : biases) {
    StatisticsProblem p({2, 49, 61, 3, 1, 12, 8}, DType::kF32, DType::kF32, mask::causal());
    p.problem.options.bias = bias;
    p.problem.options.sinks = TensorView(sinks, {3});
    check_against_f64(p, default_context());
  }
}

TEST(Statistics, LevelsThreadsAndBatchesGiveTheSameBits) {
  const Sizes sizes{2, 70, 1100, 3, 1, 20, 8};
  StatisticsProblem first(sizes, DType::kF32, DType::kF32, mask::causal());
  ExecutionContext alone(1, Isa::kScalar);
  first.run(alone);
  for (const Isa isa : supported_isas()) {
    for (const int threads : {1, 2, 7}) {
      StatisticsProblem p(sizes, DType::kF32, DType::kF32, mask::causal());
      ExecutionContext context(threads, isa);
      p.run(context);
      EXPECT_TRUE(same_bits(p.entropy, first.entropy)) << isa_name(isa) << threads;
      EXPECT_TRUE(same_bits(p.max, first.max)) << isa_name(isa) << threads;
      EXPECT_TRUE(same_bits(p.mass, first.mass)) << isa_name(isa) << threads;
      EXPECT_TRUE(same_bits(p.weight, first.weight)) << isa_name(isa) << threads;
      EXPECT_EQ(p.index, first.index);
    }
  }
}

TEST(Statistics, KnownRows) {
  // Equal scores: entropy ln n, weights 1/n, keys in order; mass 1/n of each row.
  StatisticsProblem p({1, 4, 8, 1, 1, 4, 4}, DType::kF32, DType::kF32, mask::lengths({3}, {8}), 3);
  for (std::int64_t i = 0; i < p.problem.k.numel(); ++i) p.problem.k.set(i, 0);
  p.run(default_context());
  for (std::size_t row = 0; row < 3; ++row) {
    EXPECT_NEAR(p.entropy[row], std::log(8.0), 1e-6);
    EXPECT_EQ(p.max[row], 0);
    for (std::size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(p.index[row * 3 + i], static_cast<std::int64_t>(i));
      EXPECT_NEAR(p.weight[row * 3 + i], 0.125, 1e-7);
    }
  }
  // A row that sees nothing.
  EXPECT_EQ(p.entropy[3], 0);
  EXPECT_EQ(p.max[3], -std::numeric_limits<float>::infinity());
  EXPECT_EQ(p.index[9], -1);
  EXPECT_EQ(p.weight[9], 0);
  for (const float mass : p.mass) EXPECT_NEAR(mass, 3.0 / 8, 1e-6);
  // More places than keys.
  StatisticsProblem few({1, 1, 2, 1, 1, 4, 4}, DType::kF32, DType::kF32, Mask(), 4);
  few.run(default_context());
  EXPECT_EQ(few.index[2], -1);
  EXPECT_EQ(few.weight[3], 0);
  EXPECT_NEAR(few.weight[0] + few.weight[1], 1, 1e-6);
}

TEST(Statistics, MassOfAllKeysIsTheNumberOfRows) {
  StatisticsProblem p({1, 300, 3000, 2, 1, 16, 4}, DType::kF32, DType::kF32, mask::causal());
  p.run(default_context());
  for (std::ptrdiff_t h = 0; h < 2; ++h) {
    const double sum =
        std::accumulate(p.mass.begin() + h * 3000, p.mass.begin() + (h + 1) * 3000, 0.0);
    EXPECT_NEAR(sum, 300, 300 * 2e-6);
  }
}

TEST(Statistics, NanReachesItsRowAndItsKeysMass) {
  StatisticsProblem p({1, 60, 60, 1, 1, 8, 4}, DType::kF32, DType::kF32, mask::causal(), 2);
  p.problem.q.set(p.problem.q.index(0, 20, 0, 3), std::nan(""));
  p.run(default_context());
  for (std::size_t i = 0; i < 60; ++i) {
    EXPECT_EQ(std::isnan(p.entropy[i]), i == 20);
    EXPECT_EQ(std::isnan(p.max[i]), i == 20);
    EXPECT_EQ(p.index[2 * i] == -1, i == 20);
    EXPECT_EQ(std::isnan(p.mass[i]), i <= 20);
  }
}

TEST(Statistics, OnlyWhatIsAskedForAndEmptyTensors) {
  StatisticsProblem p({2, 10, 20, 2, 1, 8, 4}, DType::kF32, DType::kF32, Mask());
  p.problem.run(default_context());
  AttentionStatistics wanted = p.wanted();
  wanted.max = wanted.column_mass = {};
  wanted.top_k = 0;
  wanted.top_index = {};
  wanted.top_weight = {};
  attention_statistics(p.problem.q.view(), p.problem.k.view(), p.problem.lse_view(), wanted);
  for (const float x : p.max) EXPECT_EQ(x, 9);
  for (const float x : p.entropy) EXPECT_NE(x, 9);
  for (const Sizes& sizes :
       {Sizes{0, 4, 4, 2, 1, 8, 4}, Sizes{1, 0, 4, 2, 1, 8, 4}, Sizes{1, 4, 0, 2, 1, 8, 4}}) {
    StatisticsProblem empty(sizes, DType::kF32, DType::kF32, Mask());
    empty.run(default_context());
    for (const float x : empty.mass) EXPECT_EQ(x, 0);
    for (const std::int64_t x : empty.index) EXPECT_EQ(x, -1);
  }
}

TEST(Statistics, WrongUseSaysWhatIsWrong) {
  StatisticsProblem p({2, 10, 20, 2, 1, 8, 4}, DType::kF32, DType::kF32, Mask());
  const auto message_of = [&](const AttentionStatistics& wanted) -> std::string {
    try {
      attention_statistics(p.problem.q.view(), p.problem.k.view(), p.problem.lse_view(), wanted);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  AttentionStatistics wanted = p.wanted();
  wanted.top_k = 5000;
  EXPECT_EQ(message_of(wanted), "[attention_statistics] top_k is 5000. It must be 0 .. 4096.");
  wanted.top_k = 6;
  EXPECT_EQ(message_of(wanted),
            "[attention_statistics] the size of top_index is 200, batch * n_heads * q_len * top_k "
            "is 240. They must be equal.");
  wanted = p.wanted();
  wanted.column_mass = wanted.max;
  EXPECT_EQ(
      message_of(wanted),
      "[attention_statistics] kv_len of column_mass is 10, kv_len is 20. They must be equal.");
  wanted = p.wanted();
  wanted.entropy = p.problem.lse_view();
  EXPECT_EQ(message_of(wanted),
            "[attention_statistics] entropy and lse overlap in memory. They must not.");
}

}  // namespace
}  // namespace raptly
