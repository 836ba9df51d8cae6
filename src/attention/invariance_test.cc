// The contract of docs/numerics.md in bits: a row depends on its own query, keys and values only.
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

#include "attention/plan.h"
#include "attention/test_problem.h"
#include "base/test_allocations.h"

namespace raptly {
namespace {

using namespace attention_testing;

constexpr Sizes kSizes{2, 150, 2300, 6, 2, 64, 64};

// q is bf16 where both are: the kernels of the level avx512_bf16.
struct Dtypes {
  DType q, kv;
  Dtypes(DType all) : q(DType::kF32), kv(all) {}  // NOLINT: f32 queries over any keys
  Dtypes(DType of_q, DType of_kv) : q(of_q), kv(of_kv) {}
};
const Dtypes kBf16Dots{DType::kBf16, DType::kBf16};

TestProblem make_problem(const Dtypes& dtypes, const char* mask = "causal") {
  TestProblem p(kSizes, dtypes.q, dtypes.kv, 21);
  p.options.mask = Mask::parse(mask);
  return p;
}

// Rows [first, first + n) of every batch entry, attended to in a call of their own.
void run_rows(TestProblem& p, std::int64_t first, std::int64_t n, ExecutionContext& context) {
  std::vector<SequenceGeometry> geometry(2,
                                         {n, kSizes.kv_len, kSizes.kv_len - kSizes.q_len + first});
  const AttentionShape shape{6, 2, 64, 64, p.q.dtype, p.k.dtype, DType::kF32};
  AttentionPlan plan(shape, geometry, p.options, context);
  EXPECT_NE(plan.report().kernel.find(n * 3 <= 16 ? "decode" : "prefill"), std::string::npos);
  std::vector<KvRun> runs(2);
  std::vector<SequenceTensors> tensors(2);
  for (std::size_t b = 0; b < 2; ++b) {
    const auto at = static_cast<std::int64_t>(b);
    runs[b].k =
        p.k.bytes.data() + static_cast<std::size_t>(p.k.index(at, 0, 0, 0)) * dtype_size(p.k.dtype);
    runs[b].v =
        p.v.bytes.data() + static_cast<std::size_t>(p.v.index(at, 0, 0, 0)) * dtype_size(p.v.dtype);
    runs[b].n = kSizes.kv_len;
    tensors[b].q = p.q.bytes.data() +
                   static_cast<std::size_t>(p.q.index(at, first, 0, 0)) * dtype_size(p.q.dtype);
    tensors[b].out = p.out.view().as<float>() + p.out.index(at, first, 0, 0);
    tensors[b].lse = p.lse.data() + at * 6 * kSizes.q_len + first;
    tensors[b].kv = {{&runs[b], 1}, p.k.dtype, 128, 64, 1, 128, 64, 1, kSizes.kv_len};
  }
  plan.run(tensors, {6 * 64, 64, 1, 6 * 64, 64, 1, kSizes.q_len, 1});
}

TEST(Invariance, ThreadsDoNotMatter) {
  for (const Dtypes& kv : {Dtypes(DType::kF32), Dtypes(DType::kBf16), kBf16Dots}) {
    TestProblem one = make_problem(kv);
    ExecutionContext alone(1);
    one.run(alone);
    for (const int threads : {2, 7, 64}) {
      TestProblem many = make_problem(kv);
      ExecutionContext context(threads);
      many.run(context);
      EXPECT_TRUE(same_bits(one.out, many.out)) << threads;
      EXPECT_TRUE(same_bits(one.lse, many.lse)) << threads;
    }
  }
}

TEST(Invariance, LevelsShareTheirBits) {
  for (const DType kv : {DType::kF32, DType::kF16}) {  // bf16: the tests of the kernels
    std::vector<TestProblem> results;
    for (const Isa isa : supported_isas()) {
      results.push_back(make_problem(kv, "causal & window(700, 0)"));
      ExecutionContext context(2, isa);
      results.back().run(context);
      EXPECT_TRUE(same_bits(results.front().out, results.back().out)) << isa_name(isa);
      EXPECT_TRUE(same_bits(results.front().lse, results.back().lse)) << isa_name(isa);
    }
  }
}

void expect_chunks_do_not_matter(const Dtypes& dtypes, const char* mask,
                                 std::initializer_list<std::int64_t> chunks) {
  TestProblem whole = make_problem(dtypes, mask);
  whole.run(default_context());
  for (const std::int64_t chunk : chunks) {
    TestProblem parts = make_problem(dtypes, mask);
    for (std::int64_t first = 0; first < kSizes.q_len; first += chunk) {
      run_rows(parts, first, std::min(chunk, kSizes.q_len - first), default_context());
    }
    EXPECT_TRUE(same_bits(whole.out, parts.out)) << mask << " " << chunk;
    EXPECT_TRUE(same_bits(whole.lse, parts.lse)) << mask << " " << chunk;
  }
}

TEST(Invariance, ChunksAndKernelsDoNotMatter) {
  expect_chunks_do_not_matter(DType::kF32, "causal", {1, 97});
  expect_chunks_do_not_matter(DType::kBf16, "causal & window(1100, 0)", {5, 64});
  expect_chunks_do_not_matter(DType::kF16, "window(5, 3)", {1, 5, 97});
  expect_chunks_do_not_matter(kBf16Dots, "causal & window(700, 0)", {5, 64});
}

TEST(InvarianceSlow, ChunksAndKernelsDoNotMatter) {
  for (const Dtypes& dtypes :
       {Dtypes(DType::kF32), Dtypes(DType::kBf16), Dtypes(DType::kF16), kBf16Dots}) {
    for (const char* mask : {"causal", "causal & window(1100, 0)", "window(5, 3)"}) {
      expect_chunks_do_not_matter(dtypes, mask, {1, 5, 64, 97});
    }
  }
}

TEST(Invariance, KeyRunsDoNotMatter) {
  TestProblem whole = make_problem(DType::kF32);
  whole.run(default_context());
  for (const std::int64_t page : {16, 129, 7}) {
    for (const std::int64_t n : {std::int64_t{2}, kSizes.q_len}) {
      // The keys and values of batch entry 0 in shuffled pages.
      const std::int64_t n_pages = (kSizes.kv_len + page - 1) / page, first = kSizes.q_len - n;
      std::vector<float> k(static_cast<std::size_t>(n_pages * page * 128)), v(k.size());
      std::vector<KvRun> runs;
      for (std::int64_t r = 0; r < n_pages; ++r) {
        const std::int64_t slot = (r * 7 + 3) % n_pages;
        const auto to = static_cast<std::size_t>((n_pages % 7 == 0 ? r : slot) * page * 128);
        const std::int64_t here = std::min(page, kSizes.kv_len - r * page);
        const auto bytes = static_cast<std::size_t>(here * 128) * 4;
        std::memcpy(&k[to], whole.k.view().as<float>() + r * page * 128, bytes);
        std::memcpy(&v[to], whole.v.view().as<float>() + r * page * 128, bytes);
        runs.push_back({&k[to], &v[to], nullptr, nullptr, here, r * page});
      }
      const SequenceGeometry geometry{n, kSizes.kv_len, kSizes.kv_len - n};
      const AttentionShape shape{6, 2, 64, 64, DType::kF32, DType::kF32, DType::kF32};
      AttentionPlan plan(shape, {&geometry, 1}, whole.options, default_context());
      std::vector<float> out(static_cast<std::size_t>(n * 384), 7.0f);
      SequenceTensors tensors;
      tensors.q = whole.q.view().as<float>() + first * 384;
      tensors.out = out.data();
      tensors.kv = {runs, DType::kF32, 128, 64, 1, 128, 64, 1, kSizes.kv_len};
      plan.run({&tensors, 1}, {384, 64, 1, 384, 64, 1, 0, 1});
      EXPECT_EQ(std::memcmp(out.data(), whole.out.view().as<float>() + first * 384, out.size() * 4),
                0)
          << page << " " << n;
    }
  }
}

TEST(Invariance, ABatchIsItsSequencesAlone) {
  TestProblem together = make_problem(DType::kBf16);
  together.run(default_context());
  for (std::int64_t b = 0; b < 2; ++b) {
    TestProblem alone = make_problem(DType::kBf16);
    const auto one = [b](TestTensor& t) {
      const std::int64_t sizes[] = {1, t.shape.size(1), t.shape.size(2), t.shape.size(3)};
      const std::int64_t strides[] = {t.shape.stride(0), t.shape.stride(1), t.shape.stride(2), 1};
      return MutableTensorView(
          t.bytes.data() + static_cast<std::size_t>(t.index(b, 0, 0, 0)) * dtype_size(t.dtype),
          t.dtype, TensorShape(sizes, strides));
    };
    attention(one(alone.q), one(alone.k), one(alone.v), one(alone.out), alone.options);
    const std::int64_t begin = alone.out.index(b, 0, 0, 0);
    const auto bytes = static_cast<std::size_t>(alone.out.shape.stride(0)) * 4;
    EXPECT_EQ(std::memcmp(alone.out.view().as<float>() + begin,
                          together.out.view().as<float>() + begin, bytes),
              0);
  }
}

TEST(Invariance, TheFutureChangesNothing) {
  TestProblem before = make_problem(DType::kF32), after = make_problem(DType::kF32);
  std::mt19937 random(99);
  for (std::int64_t j = kSizes.kv_len - 50; j < kSizes.kv_len; ++j) {
    for (std::int64_t i = 0; i < 128; ++i) {
      after.k.set(after.k.index(1, j, 0, i), static_cast<double>(random()));
      after.v.set(after.v.index(1, j, 0, i), static_cast<double>(random()));
    }
  }
  before.run(default_context());
  after.run(default_context());
  const auto rows = static_cast<std::size_t>((kSizes.q_len - 50) * 384) * 4;
  for (std::int64_t b = 0; b < 2; ++b) {
    const std::int64_t at = before.out.index(b, 0, 0, 0);
    EXPECT_EQ(
        std::memcmp(before.out.view().as<float>() + at, after.out.view().as<float>() + at, rows),
        0);
  }
}

// Scores count as +- (2^22 - 256) where the largest of a row lies beyond; a neighbour's never
// decides. Query 0 sees scores of -4194040 and -4194067, its neighbours 8388080 or nothing.
TEST(Invariance, ScoresAtTheLimitDoNotAskTheNeighbours) {
  const auto run = [](std::int64_t q_len, float neighbour, const char* mask) {
    TestProblem p({1, q_len, 2, 1, 1, 1, 1}, DType::kF32, DType::kF32, 1);
    for (std::int64_t i = 0; i < q_len; ++i) p.q.set(i, static_cast<double>(neighbour));
    p.q.set(0, 1);
    p.k.set(0, -2907087);
    p.k.set(1, -2907106);
    p.v.set(0, 1);
    p.v.set(1, 3);
    p.options.scale = 1;
    p.options.mask = Mask::parse(mask);
    p.run(default_context());
    return std::pair(p.out.get(0), p.lse[0]);
  };
  const auto alone = run(1, 1, "all");
  EXPECT_EQ(run(40, 1, "all"), alone);
  EXPECT_EQ(run(40, -2, "all"), alone);
  std::string first_row = "positions([0";
  for (int i = 1; i < 40; ++i) first_row += ", 9";
  EXPECT_EQ(run(40, 1, (first_row + "], [0, 1]) & window(1, 1)").c_str()), alone);
}

TEST(AttentionPlan, RunAllocatesNothing) {
  for (const std::int64_t n : {std::int64_t{1}, kSizes.q_len}) {
    TestProblem p = make_problem(DType::kBf16);
    const SequenceGeometry geometry{n, kSizes.kv_len, kSizes.kv_len - n};
    AttentionPlan plan({6, 2, 64, 64, DType::kF32, DType::kBf16, DType::kF32}, {&geometry, 1},
                       p.options, default_context());
    const KvRun run{p.k.bytes.data(), p.v.bytes.data(), nullptr, nullptr, kSizes.kv_len, 0};
    SequenceTensors tensors;
    tensors.q = p.q.bytes.data();
    tensors.out = p.out.bytes.data();
    tensors.kv = {{&run, 1}, DType::kBf16, 128, 64, 1, 128, 64, 1, kSizes.kv_len};
    const RowStrides strides{384, 64, 1, 384, 64, 1, 0, 1};
    const std::size_t before = testing_allocations();
    plan.run({&tensors, 1}, strides);
    EXPECT_EQ(testing_allocations(), before) << n;
  }
}

TEST(Invariance, PlansReallyDiffer) {
  ExecutionContext one(1), seven(7);
  const AttentionShape shape{6, 2, 64, 64, DType::kF32, DType::kF32, DType::kF32};
  const SequenceGeometry prefill{150, 2300, 2150}, decode{1, 2300, 2299};
  const AttentionPlan a(shape, {&prefill, 1}, {}, one), b(shape, {&prefill, 1}, {}, seven);
  EXPECT_GT(b.report().n_items, a.report().n_items);
  const AttentionPlan c(shape, {&decode, 1}, {}, one);
  EXPECT_EQ(c.report().n_items, 2 * 3);  // a split of a key head each
  EXPECT_EQ(c.report().kernel.substr(0, 6), "decode");
  EXPECT_EQ(a.report().kernel.substr(0, 7), "prefill");
  EXPECT_NE(c.explain().find("decode f32"), std::string::npos);
}

}  // namespace
}  // namespace raptly
