// Biases and sinks through attention(): the reference, properties, and what users do wrong.
#include "raptly/bias.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "attention/test_problem.h"
#include "raptly/error.h"

namespace raptly {
namespace {

using namespace attention_testing;

// Press et al. by hand: one query over three keys, scores 0.
TEST(AttentionBias, AlibiByHand) {
  for (const DType dtype : {DType::kF32, DType::kF64}) {
    TestProblem p({1, 1, 3, 1, 1, 4, 1}, dtype, dtype, 1);
    p.out = TestTensor(dtype, {1, 1, 1, 1});
    p.options.scale = 0.0f;
    p.options.bias = bias::alibi({0.5f});
    for (std::int64_t j = 0; j < 3; ++j) p.v.set(j, static_cast<double>(j * j));
    p.run(default_context());
    const double e0 = std::exp(-1.0), e1 = std::exp(-0.5);
    EXPECT_NEAR(p.out.get(0), (0 * e0 + 1 * e1 + 4) / (e0 + e1 + 1), 1e-6);
    EXPECT_NEAR(p.lse[0], std::log(e0 + e1 + 1), 1e-6);
  }
}

struct Shape {
  Sizes sizes;
  const char* mask;
};

class BiasedAttention : public testing::TestWithParam<Shape> {};

TEST_P(BiasedAttention, AgreesWithTheReference) {
  const Shape& shape = GetParam();
  const Sizes& s = shape.sizes;
  std::mt19937 random(4);
  std::normal_distribution<float> normal;
  std::vector<float> table(static_cast<std::size_t>(s.n_heads * 41)), sinks, numbers;
  for (float& x : table) x = normal(random);
  for (std::int64_t h = 0; h < s.n_heads; ++h) sinks.push_back(normal(random));
  for (std::int64_t i = 0; i < s.batch * s.q_len * s.kv_len; ++i) numbers.push_back(normal(random));
  std::vector<std::vector<float>> slopes(static_cast<std::size_t>(s.batch),
                                         bias::alibi_slopes(s.n_heads));
  slopes.back()[0] = -0.01f;
  const Bias biases[] = {bias::alibi(slopes), bias::relative({table.data(), {s.n_heads, 41}}),
                         bias::dense({numbers.data(), {s.batch, 1, s.q_len, s.kv_len}})};
  unsigned seed = 1;
  for (const Isa isa : supported_isas()) {
    if (isa == Isa::kScalar) continue;  // forward_bias_test.cc has it
    ExecutionContext context(2, isa);
    for (const DType dtype : {DType::kF32, DType::kBf16}) {
      for (const Bias& bias : biases) {
        TestProblem p(s, dtype, dtype, seed++);
        p.options.mask = Mask::parse(shape.mask);
        p.options.bias = bias;
        p.options.sinks = {sinks.data(), {s.n_heads}};
        if (seed % 2 == 0) p.options.softcap = 1.5f;
        if (seed % 3 == 0) p.options.scale = -0.2f;
        SCOPED_TRACE(std::string(isa_name(isa)) + " " + dtype_name(dtype));
        p.run(context);
        check_against_reference(p, context);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, BiasedAttention,
    testing::Values(
        Shape{{2, 1, 300, 4, 2, 64, 64}, "causal"}, Shape{{2, 67, 90, 6, 2, 64, 32}, "causal"},
        Shape{{1, 70, 70, 3, 3, 1, 5}, "all"}, Shape{{1, 33, 131, 7, 1, 80, 80}, "window(50, 20)"},
        Shape{{1, 20, 60, 2, 1, 96, 112}, "causal"}, Shape{{1, 20, 60, 2, 2, 192, 128}, "causal"},
        Shape{{1, 18, 40, 2, 1, 576, 512}, "causal"},
        Shape{{3, 30, 80, 2, 1, 32, 32}, "causal & lengths([30, 3, 0], [70, 80, 17])"},
        Shape{{1, 24, 70, 2, 1, 16, 16}, "packed([0, 9, 24], [0, 50, 70])"},
        Shape{{2, 0, 10, 2, 1, 8, 8}, "all"}, Shape{{2, 5, 0, 2, 1, 8, 8}, "all"}));

// The same numbers as a dense bias give the same result.
TEST(AttentionBias, DenseNumbersOfAlibiAreAlibi) {
  for (const std::int64_t q_len : {2, 130}) {
    TestProblem p({1, q_len, 200, 4, 2, 64, 64}, DType::kF32, DType::kF32, 9);
    const std::vector<float> slopes = bias::alibi_slopes(4);
    std::vector<float> numbers;
    for (const float slope : slopes) {
      for (std::int64_t i = 0; i < q_len; ++i) {
        for (std::int64_t j = 0; j < 200; ++j) {
          numbers.push_back(-slope * static_cast<float>(std::abs(i + 200 - q_len - j)));
        }
      }
    }
    p.options.mask = mask::causal();
    TestProblem dense = p;
    p.options.bias = bias::alibi(slopes);
    dense.options.bias = bias::dense({numbers.data(), {1, 4, q_len, 200}});
    p.run(default_context());
    dense.run(default_context());
    for (std::int64_t i = 0; i < p.out.numel(); ++i) {
      ASSERT_NEAR(p.out.get(i), dense.out.get(i), 2e-6);
    }
    for (std::size_t i = 0; i < p.lse.size(); ++i) ASSERT_NEAR(p.lse[i], dense.lse[i], 1e-5);
  }
}

// A number added to a whole row moves lse by it and nothing else.
TEST(AttentionBias, AConstantMovesOnlyLse) {
  TestProblem p({1, 40, 90, 2, 1, 32, 32}, DType::kF32, DType::kF32, 10);
  std::vector<float> rows(40);
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<float>(i) - 20.0f;
  TestProblem moved = p;
  moved.options.bias = bias::dense({rows.data(), {1, 1, 40, 1}});
  p.run(default_context());
  moved.run(default_context());
  for (std::int64_t i = 0; i < p.out.numel(); ++i) {
    ASSERT_NEAR(p.out.get(i), moved.out.get(i), 5e-6);
  }
  for (std::size_t i = 0; i < p.lse.size(); ++i) {
    ASSERT_NEAR(p.lse[i] + rows[i % 40], moved.lse[i], 1e-5);
  }
}

// A dense bias of 0 and -inf is the mask that it draws, in bits.
TEST(AttentionBias, MinusInfinityIsAMask) {
  for (const DType dtype : {DType::kF32, DType::kBf16}) {
    TestProblem masked({1, 70, 150, 4, 2, 64, 64}, dtype, dtype, 11);
    masked.options.mask = Mask::parse("causal(corner=\"top_left\") & window(30, 0)");
    const std::vector<std::uint8_t> seen = masked.options.mask.materialize(70, 150);
    std::vector<float> numbers;
    for (const std::uint8_t s : seen) numbers.push_back(s != 0 ? 0.0f : -INFINITY);
    TestProblem biased = masked;
    masked.options.bias = bias::dense({numbers.data(), {1, 1, 70, 150}});  // nothing more to hide
    biased.options.mask = Mask();
    biased.options.bias = masked.options.bias;
    masked.run(default_context());
    biased.run(default_context());
    EXPECT_TRUE(same_bits(masked.out, biased.out));
    EXPECT_TRUE(same_bits(masked.lse, biased.lse));
  }
}

// Right padding moves no query (lengths), and a sequence of a packed batch is one alone.
TEST(AttentionBias, PositionsAreThoseOfTheMask) {
  const Bias alibi = bias::alibi({0.25f, 0.125f});
  for (const std::int64_t n : {4, 30}) {
    TestProblem alone({1, n, n + 5, 2, 1, 16, 16}, DType::kF32, DType::kF32, 12);
    alone.options.bias = alibi;
    TestProblem padded({1, n + 10, n + 40, 2, 1, 16, 16}, DType::kF32, DType::kF32, 13);
    TestProblem packed({1, 2 * n, 2 * n + 10, 2, 1, 16, 16}, DType::kF32, DType::kF32, 13);
    padded.options.bias = packed.options.bias = alibi;
    alone.options.mask = mask::causal();
    padded.options.mask = mask::causal() & mask::lengths({n}, {n + 5});
    packed.options.mask = mask::causal() & mask::packed({0, n, 2 * n}, {0, n + 5, 2 * n + 10});
    const auto put = [](TestTensor& to, std::int64_t at, const TestTensor& from) {
      std::memcpy(to.bytes.data() + at * to.shape.stride(1) * 4, from.bytes.data(),
                  from.bytes.size());
    };
    put(padded.q, 0, alone.q), put(padded.k, 0, alone.k), put(padded.v, 0, alone.v);
    put(packed.q, n, alone.q), put(packed.k, n + 5, alone.k), put(packed.v, n + 5, alone.v);
    alone.run(default_context());
    padded.run(default_context());
    packed.run(default_context());
    EXPECT_EQ(std::memcmp(alone.out.bytes.data(), padded.out.bytes.data(), alone.out.bytes.size()),
              0);
    // On a key grid of its own the sums may round elsewhere.
    for (std::int64_t i = 0; i < alone.out.numel(); ++i) {
      ASSERT_NEAR(alone.out.get(i), packed.out.get(packed.out.index(0, n, 0, 0) + i), 2e-6);
    }
  }
}

// Bits of docs/numerics.md with a bias and sinks: threads, and chunks of a prompt down to one row,
// which the decode kernel takes.
TEST(AttentionBias, ThreadsAndChunksDoNotMatter) {
  constexpr std::int64_t kRows = 70, kKeys = 1200, kHeads = 4;
  std::mt19937 random(14);
  std::normal_distribution<float> normal;
  std::vector<float> table(kHeads * 101), numbers(kHeads * kRows * kKeys);
  for (float& x : table) x = normal(random);
  for (float& x : numbers) x = normal(random) > 1.5f ? -INFINITY : normal(random);
  const std::vector<float> sinks = {1, -INFINITY, -2, 0.5f};
  const auto dense_rows = [&](std::int64_t first, std::int64_t n, std::int64_t keys) {
    const std::int64_t sizes[] = {1, kHeads, n, keys}, strides[] = {0, kRows * kKeys, kKeys, 1};
    return bias::dense({numbers.data() + first * kKeys, DType::kF32, TensorShape(sizes, strides)});
  };
  const Bias shared[] = {bias::alibi(bias::alibi_slopes(kHeads)),
                         bias::relative({table.data(), {kHeads, 101}}), Bias()};
  for (const DType dtype : {DType::kF32, DType::kBf16}) {
    for (const Bias& of_all : shared) {
      const bool dense = !of_all.given();
      TestProblem whole({1, kRows, kKeys, kHeads, 2, 64, 64}, dtype, dtype, 15);
      whole.options.mask = mask::causal();
      whole.options.bias = dense ? dense_rows(0, kRows, kKeys) : of_all;
      whole.options.sinks = {sinks.data(), {kHeads}};
      TestProblem other = whole;
      ExecutionContext alone(1);
      whole.run(alone);
      for (const int threads : {2, 7, 64}) {
        ExecutionContext context(threads);
        other.run(context);
        EXPECT_TRUE(same_bits(whole.out, other.out)) << threads;
        EXPECT_TRUE(same_bits(whole.lse, other.lse)) << threads;
      }
      for (const std::int64_t chunk : {1, 5, 33}) {
        TestProblem parts = whole;
        for (std::int64_t i = 0; i < parts.out.numel(); ++i) parts.out.set(i, 7);
        for (std::int64_t first = 0; first < kRows; first += chunk) {
          const std::int64_t n = std::min(chunk, kRows - first), keys = kKeys - kRows + first + n;
          const auto rows = [](TestTensor& t, std::int64_t at, std::int64_t count) {
            const std::int64_t sizes[] = {1, count, t.shape.size(2), t.shape.size(3)};
            const std::int64_t strides[] = {0, t.shape.stride(1), t.shape.stride(2), 1};
            return MutableTensorView(
                t.bytes.data() +
                    static_cast<std::size_t>(t.index(0, at, 0, 0)) * dtype_size(t.dtype),
                t.dtype, TensorShape(sizes, strides));
          };
          if (dense) parts.options.bias = dense_rows(first, n, keys);
          attention(rows(parts.q, first, n), rows(parts.k, 0, keys), rows(parts.v, 0, keys),
                    rows(parts.out, first, n), parts.options);
        }
        EXPECT_TRUE(same_bits(whole.out, parts.out)) << chunk << " " << dtype_name(dtype);
      }
    }
  }
}

std::string message_of(const AttentionOptions& options, DType q_dtype = DType::kF32) {
  TestProblem p({2, 4, 6, 4, 2, 8, 8}, q_dtype, q_dtype, 1);
  p.options = options;
  if (q_dtype == DType::kF64) p.out = TestTensor(q_dtype, {2, 4, 4, 8});
  const TestTensor before = p.out;
  try {
    p.run(default_context());
    return "no error";
  } catch (const Error& error) {
    EXPECT_TRUE(same_bits(before, p.out));
    return error.what();
  }
}
std::string message_of_bias(const Bias& bias) {
  AttentionOptions options;
  options.bias = bias;
  return message_of(options);
}

TEST(AttentionBiasErrors, Sizes) {
  EXPECT_EQ(message_of_bias(bias::alibi({1, 2, 3})),
            "[attention] the bias is for 3 heads, q has 4. They must be equal.");
  EXPECT_EQ(message_of_bias(bias::alibi({{1, 2, 3, 4}, {1, 2, 3, 4}, {1, 2, 3, 4}})),
            "[attention] the bias has slopes for 3 batch entries, the batch has 2. They must be "
            "equal.");
  const std::vector<float> x(1000);
  EXPECT_EQ(message_of_bias(bias::relative({x.data(), {2, 5}})),
            "[attention] the bias is for 2 heads, q has 4. They must be equal.");
  EXPECT_EQ(message_of_bias(bias::dense({x.data(), {1, 4, 4, 5}})),
            "[attention] bias has shape [1, 4, 4, 5]. It must broadcast to [2, 4, 4, 6]: [batch, "
            "n_heads, q_len, kv_len].");
  EXPECT_EQ(message_of_bias(bias::dense({x.data(), {3, 1, 1, 1}})),
            "[attention] bias has shape [3, 1, 1, 1]. It must broadcast to [2, 4, 4, 6]: [batch, "
            "n_heads, q_len, kv_len].");
  EXPECT_EQ(message_of_bias(bias::dense({x.data(), {2, 4, 4, 6}})), "no error");
}

TEST(AttentionBiasErrors, DtypesAndMemory) {
  const std::vector<double> x(192);
  AttentionOptions options;
  options.bias = bias::dense({x.data(), {2, 4, 4, 6}});
  EXPECT_EQ(message_of(options),
            "[attention] bias is f64, q is f32. It must be f32, f16 or bf16; f64 goes with f64 q, "
            "k and v.");
  EXPECT_EQ(message_of(options, DType::kF64), "no error");
  TestProblem p({1, 4, 6, 2, 1, 8, 8}, DType::kF32, DType::kF32, 1);
  p.options.bias = bias::dense({p.out.view().as<float>() + 8, {1, 1, 4, 6}});
  try {
    p.run(default_context());
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "[attention] out and bias overlap in memory. They must not.");
  }
}

TEST(AttentionBiasErrors, Sinks) {
  AttentionOptions options;
  const std::vector<float> sinks = {0, 1, NAN, -INFINITY, INFINITY};
  const std::vector<double> wide(4);
  options.sinks = {sinks.data(), {3}};
  EXPECT_EQ(message_of(options),
            "[attention] sinks have shape [3]. They must have [n_heads], [4].");
  options.sinks = {sinks.data(), {4}};
  EXPECT_EQ(message_of(options),
            "[attention] sinks[2] is nan. It must be a number, or -inf for no sink.");
  options.sinks = {sinks.data() + 1, {4}};
  EXPECT_NE(message_of(options), "no error");
  options.sinks = {wide.data(), {4}};
  EXPECT_EQ(message_of(options), "[attention] sinks are f64. They must be f32.");
}

}  // namespace
}  // namespace raptly
