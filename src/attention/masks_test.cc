// Attention under every rule and random trees of rules: against the f64 reference (which asks pair
// by pair), and in bits.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "attention/plan.h"
#include "attention/random_problem.h"
#include "mask/predicate.h"
#include "raptly/error.h"

namespace raptly {
namespace {

using namespace attention_testing;

RC_GTEST_PROP(Masks, RandomTreesMatchTheReference, ()) {
  const Sizes sizes = random_sizes();
  TestProblem p = random_problem(sizes);
  p.options.mask = mask_testing::random_mask(scope_of(sizes));
  RC_LOG() << p.options.mask.to_string() << " q_len " << sizes.q_len << " kv_len " << sizes.kv_len
           << "\n";
  p.run(default_context());
  check_against_reference(p, default_context());
  RC_ASSERT(!testing::Test::HasFailure());
}

// DESIGN's invariance: neither threads nor the level change a bit, whatever the mask.
RC_GTEST_PROP(Masks, ThreadsAndLevelsDoNotMatter, ()) {
  const Sizes sizes = random_sizes();
  TestProblem one = random_problem(sizes);
  one.options.mask = mask_testing::random_mask(scope_of(sizes));
  TestProblem many = one;
  ExecutionContext alone(1), seven(7, supported_isas().front());
  one.run(alone);
  many.run(seven);
  RC_ASSERT(same_bits(one.out, many.out));
  RC_ASSERT(same_bits(one.lse, many.lse));
}

// Item 8 of the semantics list: NaN in a key and value that nobody sees reaches nothing.
RC_GTEST_PROP(Masks, UnseenKeysMayBeNan, ()) {
  const Sizes sizes = random_sizes();
  TestProblem clean = random_problem(sizes);
  clean.options.mask = mask_testing::random_mask(scope_of(sizes));
  TestProblem dirty = clean;
  const std::int64_t group = sizes.n_heads / sizes.n_kv_heads;
  for (std::int64_t b = 0; b < sizes.batch; ++b) {
    std::vector<int> seen(static_cast<std::size_t>(sizes.n_kv_heads * sizes.kv_len));
    for (std::int64_t h = 0; h < sizes.n_heads; ++h) {
      const std::vector<std::uint8_t> pairs =
          clean.options.mask.materialize(sizes.q_len, sizes.kv_len, b, h);
      for (std::size_t at = 0; at < pairs.size(); ++at) {
        const auto key = static_cast<std::int64_t>(at) % sizes.kv_len;
        seen[static_cast<std::size_t>(h / group * sizes.kv_len + key)] += pairs[at];
      }
    }
    for (std::int64_t g = 0; g < sizes.n_kv_heads; ++g) {
      for (std::int64_t j = 0; j < sizes.kv_len; ++j) {
        if (seen[static_cast<std::size_t>(g * sizes.kv_len + j)] > 0) continue;
        const double nan = std::numeric_limits<double>::quiet_NaN();
        for (std::int64_t d = 0; d < sizes.head_dim; ++d) {
          dirty.k.set(dirty.k.index(b, j, g, d), nan);
        }
        for (std::int64_t d = 0; d < sizes.v_dim; ++d) {
          dirty.v.set(dirty.v.index(b, j, g, d), d % 2 == 0 ? nan : INFINITY);
        }
      }
    }
  }
  clean.run(default_context());
  dirty.run(default_context());
  RC_ASSERT(same_bits(clean.out, dirty.out));
  RC_ASSERT(same_bits(clean.lse, dirty.lse));
}

// A mask written another way gives the same bits: dense(materialize) has other tiles' answers.
RC_GTEST_PROP(Masks, TheWayAMaskIsWrittenDoesNotMatter, ()) {
  const Sizes sizes = random_sizes();
  TestProblem rules = random_problem(sizes);
  rules.options.mask = mask_testing::random_mask(scope_of(sizes));
  TestProblem dense = rules;
  std::vector<std::uint8_t> seen;
  for (std::int64_t b = 0; b < kBatch; ++b) {
    for (std::int64_t h = 0; h < kHeads; ++h) {
      const auto pairs = rules.options.mask.materialize(sizes.q_len, sizes.kv_len, b, h);
      seen.insert(seen.end(), pairs.begin(), pairs.end());
    }
  }
  dense.options.mask = mask::dense(seen, {kBatch, kHeads, sizes.q_len, sizes.kv_len});
  rules.run(default_context());
  dense.run(default_context());
  RC_ASSERT(same_bits(rules.out, dense.out));
  RC_ASSERT(same_bits(rules.lse, dense.lse));
}

// Keys in another order, their columns of the mask with them: the same answer to rounding.
RC_GTEST_PROP(Masks, TheOrderOfKeysDoesNotMatter, ()) {
  const Sizes sizes = random_sizes();
  TestProblem p(sizes, DType::kF32, DType::kF32, static_cast<unsigned>(number(0, 1000)));
  const Mask mask = mask_testing::random_mask(scope_of(sizes));
  TestProblem shuffled = p;
  p.options.mask = mask;
  std::vector<std::int64_t> order(static_cast<std::size_t>(sizes.kv_len));
  std::iota(order.begin(), order.end(), 0);
  std::mt19937 random(static_cast<unsigned>(number(0, 1000)));
  for (std::size_t j = order.size(); j > 1; --j) std::swap(order[j - 1], order[random() % j]);
  std::vector<std::uint8_t> seen;
  for (std::int64_t b = 0; b < kBatch; ++b) {
    for (std::int64_t h = 0; h < kHeads; ++h) {
      const auto pairs = mask.materialize(sizes.q_len, sizes.kv_len, b, h);
      for (std::int64_t i = 0; i < sizes.q_len; ++i) {
        for (const std::int64_t j : order) {
          seen.push_back(pairs[static_cast<std::size_t>(i * sizes.kv_len + j)]);
        }
      }
    }
    for (std::int64_t g = 0; g < sizes.n_kv_heads; ++g) {
      for (std::int64_t j = 0; j < sizes.kv_len; ++j) {
        const std::int64_t from = order[static_cast<std::size_t>(j)];
        for (std::int64_t d = 0; d < sizes.head_dim; ++d) {
          shuffled.k.set(shuffled.k.index(b, j, g, d), p.k.get(p.k.index(b, from, g, d)));
        }
        for (std::int64_t d = 0; d < sizes.v_dim; ++d) {
          shuffled.v.set(shuffled.v.index(b, j, g, d), p.v.get(p.v.index(b, from, g, d)));
        }
      }
    }
  }
  shuffled.options.mask = mask::dense(seen, {kBatch, kHeads, sizes.q_len, sizes.kv_len});
  p.run(default_context());
  shuffled.run(default_context());
  for (std::int64_t i = 0; i < p.out.numel(); ++i) {
    RC_ASSERT(std::fabs(p.out.get(i) - shuffled.out.get(i)) <= 2e-5);
  }
}

// Rows of a call in chunks, prefill or decode, for rules that ask positions: the same bits.
TEST(Masks, ChunksDoNotMatterUnderSparseMasks) {
  const Sizes sizes{1, 150, 700, 4, 2, 16, 16};
  for (const char* text :
       {"longformer(64, [0, 600])", "longformer(32, [3], dilation=[1, 2, 3, 4])",
        "bigbird(64, 3, seed=1)", "bigbird(16, 2, 5, layout=\"etc\", num_global_tokens=40)",
        "prefix(300)", "causal & chunked(100)", "causal & dilated(40, 3)",
        "~window(50, 50) | global_tokens([640])"}) {
    TestProblem whole(sizes, DType::kF32, DType::kF32, 4);
    whole.options.mask = Mask::parse(text);
    TestProblem parts = whole;
    whole.run(default_context());
    for (const std::int64_t chunk : {1, 5, 64, 97}) {
      for (std::int64_t first = 0; first < sizes.q_len; first += chunk) {
        const std::int64_t n = std::min(chunk, sizes.q_len - first);
        const SequenceGeometry geometry{n, sizes.kv_len, sizes.kv_len - sizes.q_len + first};
        AttentionPlan plan({4, 2, 16, 16, DType::kF32, DType::kF32, DType::kF32}, {&geometry, 1},
                           parts.options, default_context());
        const KvRun run{
            parts.k.bytes.data(), parts.v.bytes.data(), nullptr, nullptr, sizes.kv_len, 0};
        SequenceTensors tensors;
        tensors.q = parts.q.view().as<float>() + first * 64;
        tensors.out = parts.out.view().as<float>() + first * 64;
        tensors.lse = parts.lse.data() + first;
        tensors.kv = {{&run, 1}, DType::kF32, 32, 16, 1, 32, 16, 1, sizes.kv_len};
        plan.run({&tensors, 1}, {64, 16, 1, 64, 16, 1, sizes.q_len, 1});
      }
      EXPECT_TRUE(same_bits(whole.out, parts.out)) << text << " " << chunk;
      EXPECT_TRUE(same_bits(whole.lse, parts.lse)) << text << " " << chunk;
    }
  }
}

// Heads of one group that see different pairs leave the shared lanes; their bits do not change.
TEST(Masks, HeadsShareLanesOnlyWhereTheyShareAPlan) {
  const Sizes sizes{1, 100, 300, 4, 1, 16, 16};
  TestProblem mixed(sizes, DType::kF32, DType::kF32, 8);
  mixed.options.mask = mask::dilated(20, {1, 2, 1, 3});
  mixed.run(default_context());
  for (const std::int64_t head : {0, 1, 3}) {
    TestProblem same(sizes, DType::kF32, DType::kF32, 8);
    constexpr std::int64_t kSteps[] = {1, 2, 1, 3};
    same.options.mask = mask::dilated(20, kSteps[head]);
    same.run(default_context());
    for (std::int64_t i = 0; i < sizes.q_len; ++i) {
      for (std::int64_t d = 0; d < 16; ++d) {
        const std::int64_t at = same.out.index(0, i, head, d);
        ASSERT_EQ(mixed.out.get(at), same.out.get(at)) << head << " " << i;
      }
    }
  }
  const SequenceGeometry geometry{100, 300, 200};
  const AttentionShape shape{4, 1, 16, 16, DType::kF32, DType::kF32, DType::kF32};
  const AttentionPlan apart(shape, {&geometry, 1}, mixed.options, default_context());
  AttentionOptions together;
  together.mask = mask::dilated(20, {2, 2, 2, 2});
  const AttentionPlan shared(shape, {&geometry, 1}, together, default_context());
  EXPECT_GT(apart.report().n_items, shared.report().n_items);
  // Four plans, of which heads 0 and 2 have the same one.
  EXPECT_GT(apart.report().tiles_partial, shared.report().tiles_partial);
}

// Items 6 and 30: rows that see nothing, here before the first image, give 0 and lse -inf.
TEST(Masks, RowsThatSeeNothingAreZero) {
  TestProblem p({1, 6, 8, 1, 1, 4, 4}, DType::kF32, DType::kF32, 3);
  for (const auto mode : {mask::MediaMode::kImmediate, mask::MediaMode::kAllPrevious}) {
    p.options.mask = mask::media({0, 0, 1, 1, 2, 2}, 4, mode);
    p.run(default_context());
    for (std::int64_t i = 0; i < 6; ++i) {
      EXPECT_EQ(std::isinf(p.lse[static_cast<std::size_t>(i)]), i < 2);
      if (i >= 2) continue;
      for (std::int64_t d = 0; d < 4; ++d) EXPECT_EQ(p.out.get(p.out.index(0, i, 0, d)), 0.0);
    }
  }
}

// Items 20 and 26 of the semantics list, and bad lists: one error, nothing written.
TEST(Masks, AMaskThatDoesNotFitIsRefusedBeforeAnythingIsWritten) {
  const auto message = [](const char* text) -> std::string {
    TestProblem p({2, 6, 8, 4, 2, 4, 4}, DType::kF32, DType::kF32, 3);
    p.options.mask = Mask::parse(text);
    const TestTensor before = p.out;
    try {
      p.run(default_context());
    } catch (const Error& error) {
      EXPECT_TRUE(same_bits(before, p.out));
      return error.what();
    }
    return "no error";
  };
  EXPECT_EQ(message("dilated(2, [1, 2])"),
            "[attention] the mask is for 2 heads, q has 4. They must be equal.");
  EXPECT_EQ(message("padding([[1, 1, 1, 1, 1, 1, 1, 0]])"),
            "[attention] the mask is for 1 batch entries, the batch has 2. They must be equal.");
  EXPECT_EQ(message("padding([1, 0])"),
            "[padding] keep has 2 entries, kv_len is 8. They must be equal.");
  EXPECT_EQ(message("blocks(4, [[0], [2]])"),
            "[blocks] lists[1] holds key block 2, but kv_len 8 has 2 blocks of 4.");
  EXPECT_EQ(message("packed([0, 6], [0, 7])"),
            "[packed] cu_kv ends with 7, kv_len is 8. They must be equal.");
}

}  // namespace
}  // namespace raptly
