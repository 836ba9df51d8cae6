#include "generate/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <set>

#include "raptly/error.h"

namespace raptly {
namespace {

constexpr int kDraws = 20000;

// How often each id is drawn.
std::map<int, double> frequencies(SamplingOptions options, const std::vector<float>& logits) {
  options.seed = 7;
  Sampler sampler(options, static_cast<std::int64_t>(logits.size()), best_isa());
  std::map<int, double> share;
  for (int i = 0; i < kDraws; ++i) {
    std::vector<float> copy = logits;
    share[sampler.sample(copy)] += 1.0 / kDraws;
  }
  return share;
}

std::vector<float> log_of(const std::vector<double>& p) {
  std::vector<float> x;
  for (const double v : p) x.push_back(static_cast<float>(std::log(v)) + 3);
  return x;
}

TEST(Sampler, GreedyTakesTheLowestOfTies) {
  Sampler sampler({}, 5, best_isa());
  std::vector<float> logits = {1, 7, 3, 7, 2};
  EXPECT_EQ(sampler.sample(logits), 1);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  logits = {nan, 2, nan, 4, 4};
  EXPECT_EQ(sampler.sample(logits), 3);
}

TEST(Sampler, DrawsByProbability) {
  const auto share = frequencies({.temperature = 1}, log_of({0.5, 0.1, 0.4}));
  EXPECT_NEAR(share.at(0), 0.5, 0.015);
  EXPECT_NEAR(share.at(1), 0.1, 0.01);
  EXPECT_NEAR(share.at(2), 0.4, 0.015);
}

TEST(Sampler, TemperatureSharpens) {
  const auto share = frequencies({.temperature = 0.5f}, log_of({0.6, 0.3, 0.1}));
  const double sum = 0.36 + 0.09 + 0.01;
  EXPECT_NEAR(share.at(0), 0.36 / sum, 0.015);
  EXPECT_NEAR(share.at(1), 0.09 / sum, 0.015);
}

TEST(Sampler, ATemperatureWithoutAnInverseIsGreedy) {
  const auto share = frequencies({.temperature = 1e-40f}, log_of({0.3, 0.6, 0.1}));
  EXPECT_NEAR(share.at(1), 1, 1e-9);
}

TEST(Sampler, FiltersInOrder) {
  const std::vector<float> logits = log_of({0.4, 0.3, 0.15, 0.1, 0.05});
  auto share = frequencies({.temperature = 1, .top_k = 2}, logits);
  EXPECT_EQ(share.size(), 2u);
  EXPECT_NEAR(share.at(0), 4.0 / 7, 0.015);
  share = frequencies({.temperature = 1, .top_p = 0.72f}, logits);
  EXPECT_EQ(share.size(), 3u);  // 0.4 + 0.3 is not enough
  share = frequencies({.temperature = 1, .top_p = 0.3f}, logits);
  EXPECT_EQ(share.size(), 1u);
  share = frequencies({.temperature = 1, .min_p = 0.3f}, logits);
  EXPECT_EQ(share.size(), 3u);  // at least 0.12
  // After top-k the shares are 4/7 and 3/7, so 0.55 is reached by the first alone.
  share = frequencies({.temperature = 1, .top_k = 2, .top_p = 0.55f}, logits);
  EXPECT_EQ(share.size(), 1u);
}

TEST(Sampler, TopKTiesGoToTheLowerIds) {
  const auto share = frequencies({.temperature = 1, .top_k = 2}, {1, 1, 1, 1});
  EXPECT_EQ(share.size(), 2u);
  EXPECT_TRUE(share.count(0) == 1 && share.count(1) == 1);
}

TEST(Sampler, RepetitionPenalty) {
  Sampler sampler({.repeat_penalty = 2}, 4, best_isa());
  sampler.accept(1);
  sampler.accept(1);  // twice is once
  sampler.accept(3);
  std::vector<float> logits = {4, 7, 3, -1};
  EXPECT_EQ(sampler.sample(logits), 0);
  EXPECT_EQ(logits, (std::vector<float>{4, 3.5f, 3, -2}));
}

TEST(Sampler, SameSeedSameTokensOnEveryLevel) {
  std::vector<float> logits(3000);
  for (std::size_t i = 0; i < logits.size(); ++i)
    logits[i] = static_cast<float>(i * 7919 % 3000) / 400;
  std::vector<std::int32_t> first;
  for (const Isa isa : supported_isas()) {
    Sampler sampler({.temperature = 0.8f, .top_p = 0.95f, .seed = 42}, 3000, isa);
    std::vector<std::int32_t> tokens;
    for (int i = 0; i < 50; ++i) {
      std::vector<float> copy = logits;
      tokens.push_back(sampler.sample(copy));
    }
    if (first.empty()) first = tokens;
    EXPECT_EQ(tokens, first) << isa_name(isa);
  }
  EXPECT_GT(std::set<std::int32_t>(first.begin(), first.end()).size(), 20u);
  // Of this seed, on every machine.
  EXPECT_EQ(std::vector<std::int32_t>(first.begin(), first.begin() + 4),
            (std::vector<std::int32_t>{2273, 1918, 2262, 408}));
}

TEST(Sampler, SaysWhatIsWrong) {
  const auto expect = [](const SamplingOptions& options, const std::string& part) {
    try {
      Sampler(options, 10, best_isa());
      FAIL() << "accepted " << part;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kInvalidArgument);
      EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
    }
  };
  expect({.temperature = -1}, "temperature is -1");
  expect({.temperature = INFINITY}, "temperature is inf");
  expect({.top_k = -2}, "top_k is -2");
  expect({.top_p = 0}, "top_p is 0");
  expect({.top_p = 1.5f}, "top_p is 1.5");
  expect({.min_p = -0.5f}, "min_p is -0.5");
  expect({.repeat_penalty = 0}, "repeat_penalty is 0");
  Sampler sampler({}, 2, best_isa());
  std::vector<float> broken = {NAN, NAN};
  EXPECT_THROW(sampler.sample(broken), Error);
}

}  // namespace
}  // namespace raptly
