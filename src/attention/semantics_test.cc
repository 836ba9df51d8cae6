// The published conventions, one test an item: the numbers are those of the semantics list (which
// key a row sees, what a row without keys gives, order and base of the softmax). Expected values
// are written down by hand from the sources named there, not computed by this library.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "attention/test_problem.h"
#include "raptly/attention.h"

namespace raptly {
namespace {

using namespace attention_testing;

// f64 takes the textbook loops, f32 the kernels.
constexpr DType kBoth[] = {DType::kF32, DType::kF64};

struct Result {
  std::vector<std::vector<double>> out;  // [q_len][v_dim] of batch 0, head 0
  std::vector<float> lse;
};

TestProblem zeros(const Sizes& sizes, DType dtype) {
  TestProblem p(sizes, dtype, dtype, 1);
  p.out = TestTensor(dtype, {sizes.batch, sizes.q_len, sizes.n_heads, sizes.v_dim});
  for (TestTensor* t : {&p.q, &p.k, &p.v}) {
    for (std::int64_t i = 0; i < t->numel(); ++i) t->set(i, 0);
  }
  return p;
}

Result run(TestProblem& p) {
  p.run(default_context());
  Result result;
  for (std::int64_t i = 0; i < p.sizes.q_len; ++i) {
    result.out.emplace_back();
    for (std::int64_t d = 0; d < p.sizes.v_dim; ++d) {
      result.out.back().push_back(p.out.get(p.out.index(0, i, 0, d)));
    }
  }
  result.lse = p.lse;
  return result;
}

// Which keys reach which rows, read off attention itself: with q = 0 and v = one-hot of the key a
// row is 1 / n at each of its n keys.
std::string seen(const Mask& mask, std::int64_t q_len, std::int64_t kv_len,
                 DType dtype = DType::kF32) {
  TestProblem p = zeros({1, q_len, kv_len, 1, 1, 4, kv_len}, dtype);
  for (std::int64_t j = 0; j < kv_len; ++j) p.v.set(p.v.index(0, j, 0, j), 1);
  p.options.mask = mask;
  const Result r = run(p);
  std::string picture;
  for (std::size_t i = 0; i < r.out.size(); ++i) {
    std::string row;
    for (const double x : r.out[i]) row += x > 0 ? '1' : '.';
    const auto n = std::count(row.begin(), row.end(), '1');
    for (const double x : r.out[i]) {
      EXPECT_NEAR(x, x > 0 ? 1.0 / static_cast<double>(n) : 0.0, 1e-6);
    }
    if (n == 0) {
      EXPECT_EQ(r.lse[i], -INFINITY);
    } else {
      EXPECT_NEAR(r.lse[i], std::log(static_cast<double>(n)), 1e-6);  // item 14: natural log
    }
    picture += (i > 0 ? " " : "") + row;
  }
  return picture;
}

using mask::Corner;

TEST(Semantics, Item01CausalCorners) {
  for (const DType dtype : kBoth) {  // the 2 x 5 and 5 x 2 of flash-attn's README
    EXPECT_EQ(seen(mask::causal(), 2, 5, dtype), "1111. 11111");
    EXPECT_EQ(seen(mask::causal(Corner::kTopLeft), 2, 5, dtype), "1.... 11...");
    EXPECT_EQ(seen(mask::causal(Corner::kTopLeft), 5, 2, dtype), "1. 11 11 11 11");
  }
}

TEST(Semantics, Item02RowsBeforeTheFirstKeySeeNothing) {
  for (const DType dtype : kBoth) EXPECT_EQ(seen(mask::causal(), 5, 2, dtype), ".. .. .. 1. 11");
}

TEST(Semantics, Item03WindowsCountBothEnds) {
  for (const DType dtype : kBoth) {
    EXPECT_EQ(seen(mask::window(1, 1), 4, 4, dtype), "11.. 111. .111 ..11");
    EXPECT_EQ(seen(mask::window(1, 0), 2, 5, dtype), "..11. ...11");  // i + kv_len - q_len - 1
    EXPECT_EQ(seen(mask::window(std::nullopt, 0), 2, 3, dtype), "11. 111");
    // "W keys, the query's own counted" of Mistral; W on each side of HF; W / 2 of Longformer.
    EXPECT_EQ(seen(mask::causal() & mask::mistral(2), 4, 4, dtype), "1... 11.. .11. ..11");
    EXPECT_EQ(seen(mask::hf_bidirectional(1), 4, 4, dtype), "11.. 111. .111 ..11");
    EXPECT_EQ(seen(mask::longformer(2), 4, 4, dtype), "11.. 111. .111 ..11");
  }
}

TEST(Semantics, Item04ChunksStandOnTheGridOfPositions) {
  for (const DType dtype : kBoth) {
    EXPECT_EQ(seen(mask::causal() & mask::chunked(2), 4, 4, dtype), "1... 11.. ..1. ..11");
    EXPECT_EQ(seen(mask::causal() & mask::chunked(3), 2, 5, dtype), "...1. ...11");
  }
}

TEST(Semantics, Item05CausalEndsAWindowAtTheQuery) {
  for (const DType dtype : kBoth) {
    EXPECT_EQ(seen(mask::causal() & mask::window(1, 2), 3, 3, dtype), "1.. 11. .11");
    // Positions, not slots: the second key stands at 10, beyond the window of the query at 11.
    EXPECT_EQ(seen(mask::positions({11}, mask::PerBatch({0, 9, 10, 11})) & mask::window(1, 0), 1, 4,
                   dtype),
              "..11");
  }
}

TEST(Semantics, Item06RowsThatSeeNothing) {
  for (const DType dtype : kBoth) {
    TestProblem p(Sizes{1, 3, 2, 1, 1, 4, 4}, dtype, dtype, 5);
    p.out = TestTensor(dtype, {1, 3, 1, 4});
    p.options.mask = mask::causal();
    const Result r = run(p);
    EXPECT_EQ(r.lse[0], -INFINITY);
    EXPECT_EQ(r.out[0], (std::vector<double>{0, 0, 0, 0}));
    EXPECT_TRUE(std::isfinite(r.lse[1]));
  }
}

// A stand-in for -inf (-1e4, -5e4, the least f32) loses to real scores as low as these.
TEST(Semantics, Item07NoFiniteStandInForMinusInfinity) {
  for (const DType dtype : kBoth) {
    for (const double score : {-1e4, -6e4, -1e6}) {
      TestProblem p = zeros({1, 1, 2, 1, 1, 1, 1}, dtype);
      p.options.scale = 1.0f;
      p.q.set(0, score);
      p.k.set(0, 1);  // key 0 scores `score`; key 1 scores 0 and is masked
      p.v.set(0, 3);
      p.v.set(1, 1e6);
      p.options.mask = mask::padding({1, 0});
      const Result r = run(p);
      EXPECT_NEAR(r.out[0][0], 3.0, 1e-6) << score;
      EXPECT_NEAR(r.lse[0], score, std::fabs(score) * 1e-6);
    }
  }
}

TEST(Semantics, Item09HugeScores) {
  for (const DType dtype : kBoth) {
    TestProblem p = zeros({1, 2, 2, 1, 1, 1, 2}, dtype);
    p.options.scale = 1.0f;
    p.v.set(p.v.index(0, 0, 0, 0), 1);
    p.v.set(p.v.index(0, 1, 0, 1), 1);
    p.k.set(0, 1e15);
    p.k.set(1, 1e15);
    p.q.set(0, 1e15);   // row 0: two equal scores of 1e30
    p.q.set(1, -1e15);  // row 1: two of -1e30
    const Result r = run(p);
    EXPECT_EQ(r.out[0], (std::vector<double>{0.5, 0.5}));
    EXPECT_EQ(r.out[1], (std::vector<double>{0.5, 0.5}));
    p.options.softcap = 5.0f;  // tanh of a huge score is 1
    const Result capped = run(p);
    EXPECT_NEAR(capped.lse[0], 5 + std::log(2.0), 1e-5);
    EXPECT_NEAR(capped.lse[1], -5 + std::log(2.0), 1e-5);
  }
}

TEST(Semantics, Item09NanReachesItsOwnRow) {
  for (const DType dtype : kBoth) {
    TestProblem p(Sizes{1, 3, 4, 1, 1, 4, 4}, dtype, dtype, 6);
    p.out = TestTensor(dtype, {1, 3, 1, 4});
    p.q.set(p.q.index(0, 1, 0, 2), NAN);
    const Result r = run(p);
    for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(std::isnan(r.out[i][0]), i == 1);
  }
}

// Scores 0, 8 and a masked 100 with softcap 2: e^0 and e^(2 tanh 4).
TEST(Semantics, Item12SoftcapComesBeforeTheMask) {
  for (const DType dtype : kBoth) {
    TestProblem p = zeros({1, 1, 3, 1, 1, 1, 1}, dtype);
    p.options.scale = 2.0f;
    p.options.softcap = 2.0f;
    p.q.set(0, 1);
    const double keys[] = {0, 4, 50};
    for (std::int64_t j = 0; j < 3; ++j) p.k.set(j, keys[j]);
    p.v.set(1, 1);
    p.options.mask = mask::padding({1, 1, 0});
    const Result r = run(p);
    const double e = std::exp(2 * std::tanh(4.0));
    EXPECT_NEAR(r.out[0][0], e / (1 + e), 1e-6);
    EXPECT_NEAR(r.lse[0], std::log(1 + e), 1e-6);
  }
}

TEST(Semantics, Item15ScaleComesFromHeadDimAndMayBeAnyNumber) {
  for (const DType dtype : kBoth) {
    TestProblem p = zeros({1, 1, 2, 1, 1, 16, 1}, dtype);  // head_dim 16, v_dim 1
    p.q.set(0, 2);
    p.k.set(0, 2);  // q k = 4 at key 0, 0 at key 1
    p.v.set(0, 1);
    const auto weight = [&](std::optional<float> scale) {
      p.options.scale = scale;
      return run(p).out[0][0];
    };
    const auto logistic = [](double x) { return 1 / (1 + std::exp(-x)); };
    EXPECT_NEAR(weight(std::nullopt), logistic(4.0 / 4), 1e-6);  // 1 / sqrt(16)
    EXPECT_NEAR(weight(-1.0f), logistic(-4), 1e-6);
    EXPECT_EQ(weight(0.0f), 0.5);
  }
}

TEST(Semantics, Item17GroupsOfHeadsAreContiguous) {
  for (const DType dtype : kBoth) {
    TestProblem p = zeros({1, 1, 2, 6, 2, 4, 1}, dtype);
    for (std::int64_t j = 0; j < 2; ++j) p.v.set(p.v.index(0, j, 1, 0), 1);  // of key head 1
    p.run(default_context());
    for (std::int64_t h = 0; h < 6; ++h) EXPECT_EQ(p.out.get(h), h / 3) << h;
  }
}

// New keys stand after the cached ones: kv_len is cached + new.
TEST(Semantics, Item20AppendedKeysAreSeenByTheirQueries) {
  for (const DType dtype : kBoth) {
    EXPECT_EQ(seen(mask::causal(), 3, 5, dtype), "111.. 1111. 11111");
  }
}

TEST(Semantics, Item22LeftPadding) {
  for (const DType dtype : kBoth) {
    EXPECT_EQ(seen(mask::causal() & mask::padding({0, 0, 1, 1}), 4, 4, dtype),
              ".... .... ..1. ..11");
  }
}

TEST(Semantics, Item24GlobalColumnsAreNotCountedTwice) {
  for (const DType dtype : kBoth) {
    EXPECT_EQ(seen(mask::longformer(2, {1}), 5, 5, dtype), "11... 11111 .111. .1111 .1.11");
  }
}

TEST(Semantics, Item26BlockListsOfAnyOrderAndEmptyRows) {
  for (const DType dtype : kBoth) {
    EXPECT_EQ(seen(mask::blocks(2, mask::BlockList{{1, 0}, {}}), 4, 4, dtype),
              "1111 1111 .... ....");
  }
}

TEST(Semantics, Item30TextSeesTheImageBeforeIt) {
  for (const DType dtype : kBoth) {  // two images of two tokens; row 0 stands before both
    EXPECT_EQ(seen(mask::media({0, 1, 1, 2}, 2), 4, 4, dtype), ".... 11.. 11.. ..11");
    EXPECT_EQ(seen(mask::media({0, 1, 2}, 2, mask::MediaMode::kAllPrevious), 3, 4, dtype),
              ".... 11.. 1111");
  }
}

}  // namespace
}  // namespace raptly
