// Plan of raptly/plan.h: the bits of attention(), memory, and what it refuses.
#include <gtest/gtest.h>

#include <vector>

#include "attention/test_problem.h"
#include "base/test_allocations.h"
#include "raptly/error.h"
#include "raptly/plan.h"

namespace raptly {
namespace {

using namespace attention_testing;

constexpr Sizes kPrefill{2, 70, 1100, 6, 2, 48, 40}, kDecode{3, 2, 1100, 6, 2, 48, 40};

TestProblem make_problem(const Sizes& sizes, unsigned seed = 1, bool permuted = false) {
  TestProblem p(sizes, DType::kF32, DType::kBf16, seed, permuted);
  p.options.mask = mask::causal() & mask::window(600, 0);
  return p;
}

PlanShape shape_of(const TestProblem& p) {
  const Sizes& s = p.sizes;
  return {s.batch,    s.q_len, s.kv_len,  s.n_heads, s.n_kv_heads,
          s.head_dim, s.v_dim, p.q.dtype, p.k.dtype, p.out.dtype};
}

void run(Plan& plan, TestProblem& p) {
  plan.run(p.q.view(), p.k.view(), p.v.view(), p.out.view(), p.lse_view());
}

// Fills out and lse with 7 again.
void forget(TestProblem& p) {
  for (std::int64_t i = 0; i < p.out.numel(); ++i) p.out.set(i, 7);
  p.lse.assign(p.lse.size(), 7.0f);
}

TEST(Plan, RunsAgainAndAgainOnAnyTensorsOfItsSizes) {
  for (const Sizes& sizes : {kPrefill, kDecode}) {
    Plan plan(shape_of(make_problem(sizes)), make_problem(sizes).options);
    for (unsigned seed = 1; seed < 4; ++seed) {
      TestProblem p = make_problem(sizes, seed, seed == 2);
      p.run(default_context());
      const TestTensor out = p.out;
      const std::vector<float> lse = p.lse;
      forget(p);
      run(plan, p);
      EXPECT_TRUE(same_bits(p.out, out) && same_bits(p.lse, lse)) << seed;
    }
  }
}

// Tiles of a mask of blocks end where its blocks do, whatever fills the lanes.
TEST(Plan, BlocksOfQueriesAreTiles) {
  const auto tiles = [](const char* mask, std::int64_t n_heads) {
    AttentionOptions options;
    options.mask = Mask::parse(mask);
    const Plan plan({1, 640, 640, n_heads, 1, 16, 16, DType::kF32, DType::kF32, DType::kF32},
                    options);
    const PlanReport& r = plan.report();
    return r.tiles_full + r.tiles_partial + r.tiles_empty;
  };
  const std::int64_t blocks_of_keys = 5;
  for (const char* mask : {"bigbird(64, 2, 0)", "bigbird(32, 1, 0) & causal", "bigbird(128, 0, 0)",
                           "~bigbird(64, 2, 0)"}) {
    EXPECT_EQ(tiles(mask, 1), 10 * blocks_of_keys) << mask;
  }
  EXPECT_GT(tiles("window(64, 64)", 1), 10 * blocks_of_keys);
  EXPECT_GT(tiles("bigbird(80, 2, 0)", 1), 10 * blocks_of_keys);
  EXPECT_GT(tiles("bigbird(64, 0, 0)", 4), 10 * blocks_of_keys);  // heads share lanes
}

TEST(Plan, RunAllocatesNothing) {
  for (const Sizes& sizes : {kPrefill, kDecode}) {
    TestProblem p = make_problem(sizes);
    Plan plan(shape_of(p), p.options);
    const std::size_t before = testing_allocations();
    run(plan, p);
    EXPECT_EQ(testing_allocations(), before);
  }
}

TEST(Plan, WorksInTheMemoryOfItsCaller) {
  TestProblem p = make_problem(kPrefill);
  p.run(default_context());
  const TestTensor out = p.out;
  const std::size_t needed = Plan(shape_of(p), p.options).report().workspace_bytes;
  ASSERT_GT(needed, 0u);
  std::vector<std::byte> memory(needed + 63 + 1);
  Workspace workspace(std::span<std::byte>(memory).subspan(1));  // an odd address
  Plan plan(shape_of(p), p.options, default_context(), &workspace);
  forget(p);
  run(plan, p);
  EXPECT_TRUE(same_bits(p.out, out));

  Workspace small(std::span<std::byte>(memory).first(100));
  try {
    Plan(shape_of(p), p.options, default_context(), &small);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_EQ(std::string(error.what()), "[Plan] the workspace has 100 bytes. This plan needs " +
                                             std::to_string(needed) +
                                             ", and up to 63 more to align them to 64.");
  }
}

TEST(Plan, SharesAWorkspaceThatALaterPlanMakesGrow) {
  Workspace workspace;
  TestProblem small = make_problem({1, 1, 9, 6, 2, 48, 40}), large = make_problem(kPrefill);
  Plan a(shape_of(small), small.options, default_context(), &workspace);
  Plan b(shape_of(large), large.options, default_context(), &workspace);
  ASSERT_GT(b.report().workspace_bytes, a.report().workspace_bytes);
  const auto expect_same = [](Plan& plan, TestProblem& p) {
    p.run(default_context());
    const TestTensor out = p.out;
    forget(p);
    run(plan, p);
    EXPECT_TRUE(same_bits(p.out, out));
  };
  expect_same(a, small);
  expect_same(b, large);
  expect_same(a, small);
  std::byte* const memory = workspace.at_least(1);
  EXPECT_EQ(workspace.at_least(b.report().workspace_bytes), memory);
}

TEST(Plan, AFirstTileThatHoldsMostOfTheWork) {
  TestProblem p({1, 600, 600, 1, 1, 8, 8}, DType::kF64, DType::kF64, 1, false);
  p.out = TestTensor(DType::kF64, {1, 600, 1, 8}, false);
  p.options.mask = mask::window(0, 0) | mask::global_tokens({0});
  ExecutionContext one(1), eight(8);
  p.run(one);
  const TestTensor out = p.out;
  forget(p);
  p.run(eight);
  EXPECT_TRUE(same_bits(p.out, out));
}

std::string run_error(Plan& plan, TestProblem& p, ErrorCode code = ErrorCode::kInvalidArgument) {
  try {
    run(plan, p);
    return "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code);
    for (std::int64_t i = 0; i < p.out.numel(); ++i) EXPECT_EQ(p.out.get(i), 7);
    return error.what();
  }
}

TEST(Plan, RefusesOtherTensors) {
  TestProblem planned = make_problem(kDecode);
  Plan plan(shape_of(planned), planned.options);
  Sizes longer = kDecode;
  longer.kv_len = 1101;
  TestProblem p = make_problem(longer);
  EXPECT_EQ(run_error(plan, p),
            "[attention] kv_len of k is 1101, kv_len of the plan is 1100. They must be equal.");
  TestProblem f16(kDecode, DType::kF32, DType::kF16, 1);
  EXPECT_EQ(run_error(plan, f16, ErrorCode::kTypeMismatch),
            "[attention] k is f16, the plan is for bf16. They must be equal.");
}

std::string plan_error(const PlanShape& shape, ErrorCode code = ErrorCode::kInvalidArgument) {
  try {
    Plan plan(shape);
    return "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code);
    return error.what();
  }
}

TEST(Plan, RefusesShapesThatCannotBe) {
  PlanShape shape = shape_of(make_problem(kDecode));
  EXPECT_EQ(plan_error(shape), "no error");
  shape.batch = -1;
  EXPECT_EQ(plan_error(shape), "[attention] batch is -1. It must be 0 or more.");
  shape = shape_of(make_problem(kDecode));
  shape.q_dtype = DType::kF64;
  EXPECT_EQ(plan_error(shape, ErrorCode::kTypeMismatch),
            "[attention] q is f64, k and v are bf16, out is f32. f64 must be used for all of them "
            "or none.");
  shape = shape_of(make_problem(kDecode));
  shape.v_dim = 0;  // head_dim
  EXPECT_EQ(plan_error(shape), "no error");
  shape.v_dim = 2000;
  EXPECT_EQ(plan_error(shape), "[attention] v_dim is 2000. It must be 1 to 1024.");
}

TEST(Plan, ExplainsItself) {
  const TestProblem p = make_problem(kDecode);
  const Plan plan(shape_of(p), p.options);
  EXPECT_NE(plan.explain().find("decode bf16"), std::string::npos) << plan.explain();
  EXPECT_GT(plan.report().tiles_empty, 0);
}

}  // namespace
}  // namespace raptly
