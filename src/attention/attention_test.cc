// attention() against the f64 reference: dtypes, levels, shapes, layouts, masks.
#include "raptly/attention.h"

#include <gtest/gtest.h>

#include "attention/test_problem.h"

namespace raptly {
namespace {

using namespace attention_testing;

struct Case {
  const char* name;
  Sizes sizes;
  const char* mask;
};

std::ostream& operator<<(std::ostream& out, const Case& c) { return out << c.name; }

constexpr std::pair<DType, DType> kDtypes[] = {{DType::kF32, DType::kF32},
                                               {DType::kF32, DType::kBf16},
                                               {DType::kF16, DType::kF16},
                                               {DType::kBf16, DType::kBf16}};

class AttentionShapes : public testing::TestWithParam<Case> {};

TEST_P(AttentionShapes, AgreesWithTheReference) {
  const Case& c = GetParam();
  unsigned seed = 1;
  for (const auto& [q, kv] : kDtypes) {
    const bool permuted = seed % 2 == 0;  // strides_test.cc compares layouts in bits
    TestProblem p(c.sizes, q, kv, seed++, permuted);
    p.options.mask = Mask::parse(c.mask);
    const Reference reference(p);
    for (const Isa isa : supported_isas()) {
      SCOPED_TRACE(std::string(isa_name(isa)) + " " + dtype_name(q) + " " + dtype_name(kv) +
                   (permuted ? " bhsd" : " bshd"));
      ExecutionContext context(2, isa);
      p.run(context);
      check_against(reference, p, context);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, AttentionShapes,
    testing::Values(
        Case{"one", {1, 1, 1, 1, 1, 1, 1}, "all"},
        Case{"decode", {2, 1, 300, 4, 2, 64, 64}, "causal"},
        Case{"decode_gqa3", {1, 1, 1100, 9, 3, 64, 64}, "causal"},
        Case{"draft", {1, 4, 2100, 8, 2, 80, 80}, "causal"},
        Case{"square", {2, 67, 67, 2, 2, 64, 64}, "all"},
        Case{"causal", {1, 150, 150, 4, 2, 64, 64}, "causal"},
        Case{"causal_top_left", {1, 40, 200, 2, 1, 32, 32}, "causal(corner=\"top_left\")"},
        Case{"more_queries_than_keys", {1, 90, 50, 2, 1, 48, 48}, "causal"},
        Case{"window", {1, 200, 400, 2, 2, 64, 64}, "causal & window(37, 0)"},
        Case{"two_sided_window", {1, 130, 130, 2, 2, 16, 16}, "window(20, 11)"},
        Case{"lengths", {3, 70, 140, 2, 1, 64, 64}, "causal & lengths([70, 3, 0], [140, 130, 17])"},
        Case{"odd_dims", {1, 33, 131, 3, 1, 37, 51}, "causal"},
        Case{"head_dim_1", {1, 20, 20, 2, 1, 1, 3}, "causal"},
        Case{"head_dim_80", {1, 49, 257, 2, 1, 80, 80}, "causal"},
        Case{"head_dim_256", {1, 25, 129, 2, 1, 256, 256}, "causal"},
        Case{"head_dim_576", {1, 18, 70, 2, 1, 576, 512}, "causal"},
        Case{"head_dim_1024", {1, 3, 40, 1, 1, 1024, 1024}, "all"},
        Case{"falcon", {1, 3, 200, 71, 1, 64, 64}, "causal"},
        Case{"mqa", {1, 50, 100, 16, 1, 64, 64}, "causal"},
        Case{"no_queries", {2, 0, 10, 2, 1, 64, 64}, "all"},
        Case{"no_keys", {2, 5, 0, 2, 1, 64, 64}, "all"},
        Case{"no_batch", {0, 5, 5, 2, 1, 64, 64}, "causal"}),
    [](const auto& c) { return std::string(c.param.name); });

TEST(Attention, RowsThatSeeNothingAreZeroAndMinusInfinity) {
  TestProblem p({1, 40, 20, 2, 1, 64, 64}, DType::kF32, DType::kF32, 3);
  p.options.mask = mask::causal();  // the first 20 queries stand before key 0
  p.run(default_context());
  for (std::int64_t i = 0; i < 20; ++i) {
    for (std::int64_t d = 0; d < 64; ++d) EXPECT_EQ(p.out.get(p.out.index(0, i, 1, d)), 0);
    EXPECT_EQ(p.lse[static_cast<std::size_t>(40 + i)], -INFINITY);
  }
}

// Found by the fuzzer: entries of an empty tensor were offsets from null.
TEST(Attention, EmptyTensorsNeedNoMemory) {
  for (const DType dtype : {DType::kF32, DType::kF64, DType::kBf16}) {
    const TensorView nothing(nullptr, dtype, TensorShape(std::vector<std::int64_t>{3, 0, 2, 8}));
    TestTensor q(dtype, {3, 5, 4, 8}), out(dtype, {3, 5, 4, 8});
    std::vector<float> lse(60, 7.0f);
    for (std::int64_t i = 0; i < out.numel(); ++i) out.set(i, 7);
    attention(q.view(), nothing, nothing, out.view(), {}, {lse.data(), {3, 4, 5}});
    for (std::int64_t i = 0; i < out.numel(); ++i) EXPECT_EQ(out.get(i), 0);
    for (const float x : lse) EXPECT_EQ(x, -INFINITY);

    TestTensor k(dtype, {3, 6, 2, 8});
    const TensorShape no_rows(std::vector<std::int64_t>{3, 0, 4, 8});
    attention({nullptr, dtype, no_rows}, k.view(), k.view(), {nullptr, dtype, no_rows});
    const TensorShape no_batch(std::vector<std::int64_t>{0, 5, 4, 8});
    const TensorView no_keys(nullptr, dtype, TensorShape(std::vector<std::int64_t>{0, 6, 2, 8}));
    attention({nullptr, dtype, no_batch}, no_keys, no_keys, {nullptr, dtype, no_batch});
  }
}

TEST(Attention, ScaleAndSoftcap) {
  for (const std::int64_t q_len : {2, 60}) {
    for (const float scale : {0.0f, -0.3f, 0.7f}) {
      for (const float softcap : {0.0f, 0.5f, 30.0f}) {
        for (const DType dtype : {DType::kF32, DType::kBf16}) {
          TestProblem p({1, q_len, 190, 2, 1, 64, 64}, dtype, dtype, 5);
          p.options.scale = scale;
          if (softcap > 0) p.options.softcap = softcap;
          p.options.mask = mask::causal();
          p.run(default_context());
          SCOPED_TRACE(std::to_string(scale) + " " + std::to_string(softcap));
          check_against_reference(p, default_context());
        }
      }
    }
  }
}

TEST(Attention, OutputInTheDtypeOfQ) {
  for (const DType dtype : {DType::kBf16, DType::kF16}) {
    TestProblem p({1, 30, 90, 2, 1, 64, 64}, dtype, dtype, 8);
    p.out = TestTensor(dtype, {1, 30, 2, 64});
    p.run(default_context());
    check_against_reference(p, default_context());
  }
}

TEST(Attention, NegativeAndZeroStrides) {
  TestProblem p({1, 50, 60, 2, 1, 32, 32}, DType::kF32, DType::kF32, 9);
  TestProblem turned = p;
  for (std::int64_t i = 0; i < 50; ++i) {
    for (std::int64_t h = 0; h < 2; ++h) {
      for (std::int64_t d = 0; d < 32; ++d) {
        turned.q.set(p.q.index(0, 49 - i, 1 - h, d), p.q.get(p.q.index(0, i, h, d)));
      }
    }
  }
  p.run(default_context());
  const std::int64_t sizes[] = {1, 50, 2, 32}, strides[] = {0, -64, -32, 1};
  const float* last = reinterpret_cast<const float*>(turned.q.bytes.data()) + 49 * 64 + 32;
  attention(TensorView(last, DType::kF32, TensorShape(sizes, strides)), p.k.view(), p.v.view(),
            turned.out.view(), p.options, turned.lse_view());
  EXPECT_TRUE(same_bits(p.out, turned.out));
  // One key for all: stride 0 over tokens.
  const std::int64_t kv_sizes[] = {1, 60, 1, 32}, zero[] = {0, 0, 0, 1};
  const TensorView k(p.k.bytes.data(), DType::kF32, TensorShape(kv_sizes, zero));
  const TensorView v(p.v.bytes.data(), DType::kF32, TensorShape(kv_sizes, zero));
  attention(p.q.view(), k, v, p.out.view(), p.options, p.lse_view());
  for (std::int64_t d = 0; d < 32; ++d) {
    EXPECT_NEAR(p.out.get(p.out.index(0, 7, 1, d)), p.v.get(d), 1e-6);
  }
}

// NaN or infinity in a masked key or value reaches nothing; in a visible one it reaches its rows.
TEST(Attention, NonFiniteMaskedKeysReachNothing) {
  for (const double poison : {static_cast<double>(NAN), static_cast<double>(INFINITY)}) {
    for (const std::int64_t q_len : {3, 100}) {
      TestProblem clean({1, q_len, 300, 4, 2, 64, 64}, DType::kF32, DType::kF32, 11);
      clean.options.mask = Mask::parse("causal & window(100, 0)");
      TestProblem dirty = clean;
      const std::int64_t hidden[] = {0, 5, 150, 299 - q_len - 100};  // before every window
      for (const std::int64_t j : hidden) {
        if (j >= 300 - q_len - 100) continue;
        for (std::int64_t d = 0; d < 64; ++d) {
          dirty.k.set(dirty.k.index(0, j, 1, d), poison);
          dirty.v.set(dirty.v.index(0, j, 0, d), poison);
        }
      }
      // Visible only to the last query: key 299.
      dirty.v.set(dirty.v.index(0, 299, 0, 3), poison);
      dirty.k.set(dirty.k.index(0, 299, 1, 3), static_cast<double>(NAN));
      clean.run(default_context());
      dirty.run(default_context());
      for (std::int64_t i = 0; i + 1 < q_len; ++i) {
        for (std::int64_t h = 0; h < 4; ++h) {
          for (std::int64_t d = 0; d < 64; ++d) {
            const std::int64_t at = clean.out.index(0, i, h, d);
            ASSERT_EQ(clean.out.get(at), dirty.out.get(at)) << i << " " << h << " " << d;
          }
        }
      }
      EXPECT_FALSE(std::isfinite(dirty.out.get(dirty.out.index(0, q_len - 1, 0, 3))));
      EXPECT_TRUE(std::isnan(dirty.out.get(dirty.out.index(0, q_len - 1, 2, 0))));
    }
  }
}

}  // namespace
}  // namespace raptly
