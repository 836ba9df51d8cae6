// Cascades over a shared prefix: the bits of attention over the keys put together.
#include "raptly/cascade.h"

#include <gtest/gtest.h>

#include <limits>

#include "attention/test_problem.h"
#include "raptly/error.h"

namespace raptly {
namespace {

using namespace attention_testing;

struct CascadeSizes {
  std::int64_t batch = 3, q_len = 1, prefix_len = 2500, kv_len = 40, n_heads = 4, n_kv_heads = 2,
               head_dim = 12, v_dim = 20;
};

// A problem over all keys, and the same keys as a prefix and each sequence's own.
struct CascadeProblem {
  CascadeSizes sizes;
  TestProblem whole, cascade;
  TestTensor prefix_k, prefix_v, own_k, own_v;

  CascadeProblem(const CascadeSizes& s, DType q_dtype, DType kv_dtype, const Mask& mask)
      : sizes(s),
        whole({s.batch, s.q_len, s.prefix_len + s.kv_len, s.n_heads, s.n_kv_heads, s.head_dim,
               s.v_dim},
              q_dtype, kv_dtype, 11),
        cascade(whole),
        prefix_k(kv_dtype, {1, s.prefix_len, s.n_kv_heads, s.head_dim}),
        prefix_v(kv_dtype, {1, s.prefix_len, s.n_kv_heads, s.v_dim}),
        own_k(kv_dtype, {s.batch, s.kv_len, s.n_kv_heads, s.head_dim}),
        own_v(kv_dtype, {s.batch, s.kv_len, s.n_kv_heads, s.v_dim}) {
    whole.options.mask = mask;
    cut(whole.k, prefix_k, own_k);
    cut(whole.v, prefix_v, own_v);
  }
  // Makes the first keys of all entries the same, and copies them out.
  void cut(TestTensor& all, TestTensor& prefix, TestTensor& own) const {
    for (std::int64_t b = 0; b < sizes.batch; ++b) {
      for (std::int64_t j = 0; j < sizes.prefix_len + sizes.kv_len; ++j) {
        for (std::int64_t h = 0; h < all.shape.size(2); ++h) {
          for (std::int64_t c = 0; c < all.shape.size(3); ++c) {
            const std::int64_t at = all.index(b, j, h, c);
            if (j >= sizes.prefix_len) {
              own.set(own.index(b, j - sizes.prefix_len, h, c), all.get(at));
            } else if (b == 0) {
              prefix.set(prefix.index(0, j, h, c), all.get(at));
            } else {
              all.set(at, prefix.get(prefix.index(0, j, h, c)));
            }
          }
        }
      }
    }
  }
  static TensorView without_batch(TestTensor& t) {
    const std::int64_t sizes[] = {t.shape.size(1), t.shape.size(2), t.shape.size(3)};
    const std::int64_t strides[] = {t.shape.stride(1), t.shape.stride(2), t.shape.stride(3)};
    return {t.bytes.data(), t.dtype, TensorShape(sizes, strides)};
  }
  SharedPrefix prefix() { return {without_batch(prefix_k), without_batch(prefix_v)}; }
  CascadeReport run(ExecutionContext& context) {
    return cascade_attention(cascade.q.view(), {prefix(), own_k.view(), own_v.view()},
                             cascade.out.view(), whole.options, cascade.lse_view(), context);
  }
  CascadeReport expect_equal(ExecutionContext& context) {
    whole.run(context);
    const CascadeReport report = run(context);
    EXPECT_TRUE(same_bits(whole.out, cascade.out));
    EXPECT_TRUE(same_bits(whole.lse, cascade.lse));
    return report;
  }
};

TEST(Cascade, HasTheBitsOfAttentionOverAllKeys) {
  for (const std::int64_t q_len : {1, 3, 20}) {  // decode, decode stacked to prefill, prefill
    for (const DType kv : {DType::kF32, DType::kF16, DType::kBf16}) {
      CascadeSizes sizes;
      sizes.q_len = q_len;
      for (const DType q : {DType::kF32, kv}) {
        CascadeProblem p(sizes, q, kv, mask::causal());
        const CascadeReport report = p.expect_equal(default_context());
        EXPECT_EQ(report.shared_keys, 2048) << report.reason;
        EXPECT_EQ(report.stacked_rows, 3 * q_len);
      }
    }
  }
}

TEST(Cascade, LevelsAndThreadsDoNotMatter) {
  CascadeSizes sizes;
  sizes.batch = 5;
  sizes.q_len = 5;
  sizes.prefix_len = 1100;
  for (const Isa isa : supported_isas()) {
    for (const int threads : {1, 2, 5}) {
      CascadeProblem p(sizes, DType::kF32, DType::kF32, mask::causal());
      p.whole.options.softcap = 3.0f;
      p.whole.options.scale = -0.5f;
      ExecutionContext context(threads, isa);
      EXPECT_EQ(p.expect_equal(context).stacked_rows, 25) << isa_name(isa);
    }
  }
}

TEST(Cascade, PrefixesOfAnyLength) {
  for (const std::int64_t prefix_len : {0, 1, 1023, 1024, 1025, 3072}) {
    for (const std::int64_t kv_len : {0, 1, 1000}) {
      if (prefix_len + kv_len == 0) continue;
      CascadeSizes sizes;
      sizes.prefix_len = prefix_len;
      sizes.kv_len = kv_len;
      CascadeProblem p(sizes, DType::kF32, DType::kF32, Mask());
      EXPECT_EQ(p.expect_equal(default_context()).shared_keys, prefix_len / 1024 * 1024);
    }
  }
}

// Rows that do not see the whole prefix are attended to alone.
TEST(Cascade, MasksDecideWhoIsStacked) {
  CascadeSizes sizes;
  sizes.q_len = 20;
  CascadeProblem window(sizes, DType::kF32, DType::kF32, mask::causal() & mask::window(2000, 0));
  CascadeReport report = window.expect_equal(default_context());
  EXPECT_EQ(report.stacked_rows, 0);
  EXPECT_EQ(report.reason, "not all queries see the whole prefix");

  // Entry 1 has fewer keys than the whole splits.
  CascadeProblem lengths(sizes, DType::kF32, DType::kF32,
                         mask::causal() & mask::lengths({20, 20, 20}, {2540, 2000, 2510}));
  report = lengths.expect_equal(default_context());
  EXPECT_EQ(report.stacked_rows, 40);
  EXPECT_EQ(report.shared_keys, 2048);

  // Heads see different keys beyond the prefix.
  std::vector<mask::BlockList> heads;
  for (std::int64_t h = 0; h < 4; ++h) heads.push_back({{0, 1 + h % 2}});
  sizes.kv_len = 2048 * 3 - sizes.prefix_len;
  CascadeProblem blocks(sizes, DType::kF32, DType::kF32, mask::blocks(2048, heads));
  EXPECT_EQ(blocks.expect_equal(default_context()).stacked_rows, 60);
}

TEST(Cascade, SinksAreStackedAndBiasesAreNot) {
  const float sinks[] = {0.5f, -1, 2, -std::numeric_limits<float>::infinity()};
  CascadeProblem p({}, DType::kF32, DType::kF32, mask::causal());
  p.whole.options.sinks = TensorView(sinks, {4});
  EXPECT_EQ(p.expect_equal(default_context()).stacked_rows, 3);
  p.whole.options.bias = bias::alibi(bias::alibi_slopes(4));
  const CascadeReport report = p.expect_equal(default_context());
  EXPECT_EQ(report.stacked_rows, 0);
  EXPECT_EQ(report.reason, "a bias asks where each query stands");
}

TEST(Cascade, F64AndEmptyBatches) {
  CascadeSizes sizes;
  sizes.prefix_len = 1100;
  CascadeProblem p(sizes, DType::kF64, DType::kF64, mask::causal());
  p.whole.out = p.cascade.out = TestTensor(DType::kF64, {3, 1, 4, 20});
  EXPECT_EQ(p.expect_equal(default_context()).stacked_rows, 0);
  sizes.batch = 0;
  CascadeProblem empty(sizes, DType::kF32, DType::kF32, mask::causal());
  empty.expect_equal(default_context());
}

std::string message_of(CascadeProblem& p, const SharedPrefix& prefix) {
  try {
    cascade_attention(p.cascade.q.view(), {prefix, p.own_k.view(), p.own_v.view()},
                      p.cascade.out.view());
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Cascade, WrongUseSaysWhatIsWrong) {
  CascadeProblem p({}, DType::kF32, DType::kF32, Mask());
  SharedPrefix prefix = p.prefix();
  std::swap(prefix.k, prefix.v);
  EXPECT_EQ(message_of(p, prefix),
            "[cascade_attention] the last dimension of prefix.k is 20, that of k is 12. They must "
            "be equal.");
  prefix = {p.prefix_k.view(), prefix.k};
  EXPECT_EQ(message_of(p, prefix),
            "[cascade_attention] prefix.k has shape [1, 2500, 2, 12]. It must have rank 3: "
            "[prefix_len, n_kv_heads, dim].");
  TestTensor half(DType::kF16, {1, 2500, 2, 12});
  prefix = {CascadeProblem::without_batch(half), p.prefix().v};
  EXPECT_EQ(message_of(p, prefix),
            "[cascade_attention] prefix.k is f16, k is f32. They must be equal.");
  TestTensor permuted(DType::kF32, {1, 2500, 2, 12}, true);
  prefix.k = CascadeProblem::without_batch(permuted);
  EXPECT_EQ(message_of(p, prefix),
            "[cascade_attention] the token stride of k is 24, that of prefix.k is 12. They must "
            "be equal: lay both out as [..., n_kv_heads, dim].");
  TestTensor shorter(DType::kF32, {1, 2400, 2, 12});
  prefix.k = CascadeProblem::without_batch(shorter);
  EXPECT_EQ(message_of(p, prefix),
            "[cascade_attention] prefix_len of prefix.v is 2500, prefix_len of prefix.k is 2400. "
            "They must be equal.");
}

}  // namespace
}  // namespace raptly
