// Longformer's second projections: semantics.md item 24.
#include <gtest/gtest.h>

#include "attention/test_problem.h"
#include "mask/row_rules.h"
#include "raptly/error.h"
#include "raptly/plan.h"

namespace raptly {
namespace {

using namespace attention_testing;

// q, k, v and their global twins.
struct TwoProjections {
  TestProblem local, global;

  TwoProjections(const Sizes& sizes, DType q_dtype, DType kv_dtype, const Mask& mask,
                 bool permuted = false)
      : local(sizes, q_dtype, kv_dtype, 5, permuted),
        global(sizes, q_dtype, kv_dtype, 6, permuted) {
    local.options.mask = global.options.mask = mask;
  }
  // Into local.out and local.lse.
  void run(ExecutionContext& context) {
    AttentionOptions options = local.options;
    options.q_global = global.q.view();
    options.k_global = global.k.view();
    options.v_global = global.v.view();
    attention(local.q.view(), local.k.view(), local.v.view(), local.out.view(), options,
              local.lse_view(), context);
  }
};

// Every row has the bits of a plain call over the tensors that it takes.
void expect_rows(TwoProjections& both, const std::vector<std::vector<std::int64_t>>& globals,
                 ExecutionContext& context) {
  TestProblem local = both.local, global = both.global;
  local.run(context);
  global.run(context);
  both.run(context);
  const Sizes& s = local.sizes;
  for (std::int64_t b = 0; b < s.batch; ++b) {
    const auto& list = globals[globals.size() == 1 ? 0 : static_cast<std::size_t>(b)];
    for (std::int64_t i = 0; i < s.q_len; ++i) {
      const bool is_global = std::binary_search(list.begin(), list.end(), i);
      const TestProblem& want = is_global ? global : local;
      for (std::int64_t h = 0; h < s.n_heads; ++h) {
        const auto at = static_cast<std::size_t>((b * s.n_heads + h) * s.q_len + i);
        ASSERT_EQ(std::memcmp(&both.local.lse[at], &want.lse[at], 4), 0) << i;
        for (std::int64_t d = 0; d < s.v_dim; ++d) {
          const std::int64_t place = want.out.index(b, i, h, d);
          ASSERT_EQ(both.local.out.get(place), want.out.get(place)) << b << " " << i << " " << h;
        }
      }
    }
  }
}

TEST(GlobalProjections, RowsTakeTheirOwnProjections) {
  for (const bool permuted : {false, true}) {
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBf16, DType::kF64}) {
      const Sizes sizes{2, 300, 300, 4, 2, 40, 24};
      const DType kv = dtype;
      TwoProjections both(sizes, dtype, kv, mask::longformer(32, {{0, 77, 299}, {1, 2, 3}}),
                          permuted);
      if (dtype == DType::kF64) {
        both.local.out = both.global.out = TestTensor(DType::kF64, {2, 300, 4, 24}, permuted);
      }
      ExecutionContext context(2);
      expect_rows(both, {{0, 77, 299}, {1, 2, 3}}, context);
    }
  }
}

TEST(GlobalProjections, SharedListsLevelsAndThreads) {
  const Sizes sizes{2, 200, 200, 2, 2, 64, 64};
  const Mask mask =
      mask::longformer(16, {5, 6, 100}, {1, 3}) & mask::padding(std::vector<std::int64_t>(200, 1));
  for (const Isa isa : supported_isas()) {
    TwoProjections both(sizes, DType::kF32, DType::kF32, mask);
    ExecutionContext context(3, isa);
    expect_rows(both, {{5, 6, 100}}, context);
  }
}

// Many rows run as prefill; lengths hide padded ones; kv_len differs from q_len.
TEST(GlobalProjections, ManyRowsLengthsAndCrossLengths) {
  std::vector<std::int64_t> globals;
  for (std::int64_t i = 0; i < 90; i += 2) globals.push_back(i);
  const Sizes sizes{2, 130, 150, 3, 1, 32, 32};
  TwoProjections both(sizes, DType::kF32, DType::kF32,
                      mask::longformer(20, globals) & mask::lengths({130, 60}, {150, 60}));
  // Global are positions; queries of entry 0 stand at i + 20.
  std::vector<std::vector<std::int64_t>> rows(2);
  for (const std::int64_t p : globals) {
    if (p >= 20) rows[0].push_back(p - 20);
    rows[1].push_back(p);
  }
  expect_rows(both, rows, default_context());
}

TEST(GlobalProjections, PackedSequencesAndNoGlobalRow) {
  const Sizes sizes{1, 120, 120, 2, 2, 16, 16};
  TwoProjections packed(sizes, DType::kF32, DType::kF32,
                        mask::longformer(8, {0}) & mask::packed({0, 50, 120}));
  expect_rows(packed, {{0, 50}}, default_context());
  // Beyond the sequence: no row is global.
  TwoProjections none(sizes, DType::kF32, DType::kF32, mask::longformer(8, {500}));
  expect_rows(none, {{}}, default_context());
}

// Biases ask where the rows stand, gathered or not.
TEST(GlobalProjections, BiasesAndSinks) {
  const Sizes sizes{2, 100, 100, 2, 1, 16, 16};
  const float sinks[] = {0.5f, -1};
  std::vector<float> table, row(100);
  for (int i = 0; i < 2 * 39; ++i) table.push_back(static_cast<float>(i % 11) / 4);
  for (std::size_t i = 0; i < row.size(); ++i) row[i] = static_cast<float>(i % 7) / 3;
  const Bias biases[] = {bias::alibi({0.25f, 0.5f}),
                         bias::relative(TensorView(table.data(), {2, 39})),
                         bias::dense(TensorView(row.data(), {1, 1, 1, 100}))};
  for (const Bias& bias : biases) {
    for (const Mask& more : {Mask(), mask::packed({0, 40, 100})}) {
      TwoProjections both(sizes, DType::kF32, DType::kF32, mask::longformer(8, {3, 30}) & more);
      both.local.options.bias = both.global.options.bias = bias;
      both.local.options.sinks = both.global.options.sinks = TensorView(sinks, {2});
      const std::vector<std::vector<std::int64_t>> rows = {{3, 30}},
                                                   packed_rows = {{3, 30, 43, 70}};
      expect_rows(both, more.rule() ? packed_rows : rows, default_context());
    }
  }
  TwoProjections both(sizes, DType::kF32, DType::kF32, mask::longformer(8, {3}));
  std::vector<float> pairs(100 * 100);
  both.local.options.bias = bias::dense(TensorView(pairs.data(), {1, 1, 100, 100}));
  try {
    both.run(default_context());
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kNotSupported);
    EXPECT_STREQ(error.what(),
                 "[attention] the dense bias has a row for each query, and q_global is given. Give "
                 "it one row for all queries, [.., .., 1, kv_len], or use alibi, relative or t5.");
  }
}

TEST(GlobalProjections, NanOfRowsThatAreNotGlobalIsNotRead) {
  const Sizes sizes{1, 64, 64, 2, 2, 16, 16};
  TwoProjections both(sizes, DType::kF32, DType::kF32, mask::longformer(8, {3}));
  TwoProjections clean = both;
  for (std::int64_t i = 0; i < 64; ++i) {
    if (i == 3) continue;
    for (std::int64_t c = 0; c < 16; ++c) {
      both.global.q.set(both.global.q.index(0, i, 1, c), std::nan(""));
    }
  }
  both.run(default_context());
  clean.run(default_context());
  EXPECT_TRUE(same_bits(both.local.out, clean.local.out));
}

TEST(GlobalProjections, EmptyBatchAndSequence) {
  for (const Sizes& sizes : {Sizes{0, 8, 8, 2, 2, 4, 4}, Sizes{1, 0, 0, 2, 2, 4, 4}}) {
    TwoProjections both(sizes, DType::kF32, DType::kF32, mask::longformer(8, {3}));
    both.run(default_context());
  }
}

std::string message_of(TwoProjections& both, const AttentionOptions& options) {
  try {
    attention(both.local.q.view(), both.local.k.view(), both.local.v.view(), both.local.out.view(),
              options);
  } catch (const Error& error) {
    for (std::int64_t i = 0; i < both.local.out.numel(); ++i) {
      EXPECT_EQ(both.local.out.get(i), 7) << "something was written";
    }
    return error.what();
  }
  return "no error";
}

TEST(GlobalProjections, WrongUseSaysWhatIsWrong) {
  const Sizes sizes{2, 10, 10, 4, 2, 16, 16};
  TwoProjections both(sizes, DType::kF32, DType::kF32, mask::longformer(4, {0}));
  AttentionOptions options = both.local.options;
  options.q_global = both.global.q.view();
  options.k_global = both.global.k.view();
  EXPECT_EQ(message_of(both, options),
            "[attention] k_global is given, v_global is not. Give q_global, k_global and v_global "
            "or none of them.");
  options.v_global = both.global.q.view();
  EXPECT_EQ(message_of(both, options),
            "[attention] v_global has shape [2, 10, 4, 16], v has [2, 10, 2, 16]. They must be "
            "equal.");
  TestTensor half(DType::kBf16, {2, 10, 2, 16});
  options.v_global = half.view();
  EXPECT_EQ(message_of(both, options),
            "[attention] v_global is bf16, v is f32. They must be equal.");
  options.v_global = both.global.v.view();
  options.mask = mask::window(2, 2);
  const std::string no_rule =
      "[attention] q_global is given, but no rule of the mask makes tokens global. Use longformer "
      "with global_tokens, or join global_tokens with |.";
  EXPECT_EQ(message_of(both, options), no_rule);
  options.mask = ~mask::global_tokens({1});
  EXPECT_EQ(message_of(both, options), no_rule);
  options.mask = mask::longformer(4, {{0}, {1, 2}, {3}});
  EXPECT_EQ(message_of(both, options),
            "[attention] the mask is for 3 batch entries, the batch has 2. They must be equal.");
  options.mask = both.local.options.mask;
  options.q_global = both.local.out.view();
  EXPECT_EQ(message_of(both, options),
            "[attention] out and q_global overlap in memory. They must not.");
  TensorView nowhere(static_cast<float*>(nullptr), {2, 10, 4, 16});
  options.q_global = nowhere;
  EXPECT_EQ(message_of(both, options),
            "[attention] q_global has shape [2, 10, 4, 16] and no data.");
}

// attention() gathers a few global rows of a long sequence, a plan leaves them in place.
TEST(GlobalProjections, GatheredRowsKeepTheirBits) {
  for (const DType dtype : {DType::kF32, DType::kBf16}) {
    for (const Mask& more : {Mask(), mask::lengths({400, 300}, {400, 300})}) {
      TestProblem gathered({2, 400, 400, 4, 2, 40, 24}, dtype, dtype, 8);
      gathered.options.mask = mask::longformer(32, {0, 77, 78, 399}) & more;
      TestProblem planned = gathered;
      gathered.run(default_context());
      const PlanShape shape{2, 400, 400, 4, 2, 40, 24, dtype, dtype};
      Plan(shape, planned.options)
          .run(planned.q.view(), planned.k.view(), planned.v.view(), planned.out.view(),
               planned.lse_view());
      EXPECT_TRUE(same_bits(gathered.out, planned.out));
      EXPECT_TRUE(same_bits(gathered.lse, planned.lse));
    }
  }
}

TEST(GlobalProjections, APlanRefusesThem) {
  TwoProjections both({1, 8, 8, 2, 2, 4, 4}, DType::kF32, DType::kF32, mask::longformer(4, {0}));
  AttentionOptions options = both.local.options;
  options.q_global = both.global.q.view();
  try {
    Plan({1, 8, 8, 2, 2, 4, 4}, options);
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(),
                 "[attention] q_global, k_global and v_global are given to a plan. Give them to "
                 "attention().");
  }
}

}  // namespace
}  // namespace raptly
