// Biases and sinks in the forward kernels: the gate against the reference, and one row whatever
// computed it (semantics 10 to 13).
#include <gtest/gtest.h>

#include <cmath>
#include <ostream>
#include <string>

#include "kernels/flash_forward/forward_gate.h"

namespace raptly::testing {
namespace {

enum class Kind { kAlibi, kRelative, kT5, kDense, kDenseShared, kDenseF16, kDenseHiding, kSinks };
constexpr Kind kKinds[] = {Kind::kAlibi,       Kind::kRelative, Kind::kT5,          Kind::kDense,
                           Kind::kDenseShared, Kind::kDenseF16, Kind::kDenseHiding, Kind::kSinks};
void PrintTo(Kind kind, std::ostream* out) {
  constexpr const char* kNames[] = {"Alibi",       "Relative", "T5",          "Dense",
                                    "DenseShared", "DenseF16", "DenseHiding", "Sinks"};
  *out << kNames[static_cast<int>(kind)];
}

// A bias, and the memory of a dense one.
struct TestBias {
  std::vector<float> numbers;
  std::vector<F16> halves;
  Bias bias;
  std::vector<float> sinks;

  TestBias(Kind kind, const ForwardCase& c) {
    RandomValues random(c.seed + 77);
    const auto draw = [&](std::int64_t n) {
      for (std::int64_t i = 0; i < n; ++i) numbers.push_back(random.normal());
    };
    const std::int64_t heads = c.n_heads, rows = c.q_len, keys = c.kv_len;
    switch (kind) {
      case Kind::kAlibi:
        bias = bias::alibi(bias::alibi_slopes(heads));
        break;
      case Kind::kRelative:  // shorter than the sequence: the ends are clamped
        draw(heads * 61);
        bias = bias::relative({numbers.data(), {heads, 61}});
        break;
      case Kind::kT5:
        draw(heads * 32);
        bias = bias::t5({numbers.data(), {32, heads}}, true, 128);
        break;
      case Kind::kDense: {  // keys from the last to the first
        draw(heads * rows * keys);
        const std::int64_t sizes[] = {1, heads, rows, keys}, strides[] = {0, rows * keys, keys, -1};
        bias = bias::dense({numbers.data() + keys - 1, DType::kF32, TensorShape(sizes, strides)});
        break;
      }
      case Kind::kDenseShared: {  // one row for all heads and queries
        draw(keys);
        bias = bias::dense({numbers.data(), {1, 1, 1, keys}});
        break;
      }
      case Kind::kDenseF16: {  // rows that overlap: stride 1 from query to query
        draw(heads * (rows + keys));
        for (const float x : numbers) halves.push_back(to_f16(x));
        const std::int64_t sizes[] = {1, heads, rows, keys}, strides[] = {0, rows + keys, 1, 1};
        bias = bias::dense({halves.data(), DType::kF16, TensorShape(sizes, strides)});
        break;
      }
      case Kind::kDenseHiding:  // a third of the pairs, and all of query 1
        draw(rows * keys);
        for (std::int64_t i = 0; i < rows * keys; ++i) {
          if (random.below(3) == 0 || i / keys == 1) {
            numbers[static_cast<std::size_t>(i)] = -INFINITY;
          }
        }
        bias = bias::dense({numbers.data(), {1, 1, rows, keys}});
        break;
      case Kind::kSinks:
        break;
    }
    for (std::int64_t h = 0; h < heads; ++h) sinks.push_back(2 * random.normal());
    if (heads > 1) sinks[1] = -INFINITY;
    if (kind != Kind::kSinks && c.seed % 2 == 0) sinks.clear();
  }
  void put_into(ForwardCase& c) const {
    c.bias = bias;
    c.sinks = sinks;
  }
};

struct Geometry {
  std::int64_t q_len, kv_len;
  int n_heads, n_kv_heads, head_dim, v_dim;
  const char* mask;
};
constexpr Geometry kGeometries[] = {{1, 1, 1, 1, 1, 1, "all"},
                                    {17, 129, 2, 2, 33, 33, "causal"},
                                    {50, 50, 3, 1, 16, 24, "causal"},
                                    {3, 1100, 2, 1, 24, 24, "causal"},
                                    {40, 200, 2, 2, 8, 8, "causal & window(37, 0)"},
                                    {18, 150, 2, 2, 80, 16, "all"},
                                    {9, 4, 1, 1, 5, 6, "causal"},
                                    {19, 40, 5, 1, 20, 12, "packed([0, 7, 19], [0, 30, 40])"}};

class ForwardBiasGate : public ::testing::TestWithParam<std::tuple<Geometry, Kind>> {};

TEST_P(ForwardBiasGate, EveryLevelAndDtype) {
  const auto& [g, kind] = GetParam();
  std::uint64_t seed = 3;
  for (const DType dtype : {DType::kF32, DType::kBf16, DType::kF16}) {
    ForwardCase c;
    c.seed = seed++;
    c.q_len = g.q_len, c.kv_len = g.kv_len;
    c.n_heads = g.n_heads, c.n_kv_heads = g.n_kv_heads;
    c.head_dim = g.head_dim, c.v_dim = g.v_dim;
    c.mask = Mask::parse(g.mask);
    c.q_dtype = c.kv_dtype = c.out_dtype = dtype;
    const TestBias bias(kind, c);
    bias.put_into(c);
    ForwardData data(c);
    for (const Isa isa : supported_isas()) {
      const double p_u = Dtypes{dtype, dtype}.own_level(isa) ? kBf16U : 0;
      const std::string what = std::string(isa_name(isa)) + " " + dtype_name(dtype);
      const Outputs prefill = run_prefill(data, isa);
      expect_within_gate(data, prefill, p_u, what);
      EXPECT_EQ(count_different(prefill, run_decode(data, isa)), 0) << what;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, ForwardBiasGate,
                         ::testing::Combine(::testing::ValuesIn(kGeometries),
                                            ::testing::ValuesIn(kKinds)));

class ForwardBiasInvariance : public ::testing::TestWithParam<std::tuple<Kind, Dtypes, int>> {
 protected:
  static ForwardCase problem() {
    const auto& [kind, dtypes, geometry] = GetParam();
    ForwardCase c;
    c.seed = static_cast<std::uint64_t>(geometry) + 100;
    c.q_dtype = dtypes.q, c.kv_dtype = dtypes.kv;
    switch (geometry) {
      case 0:  // several splits, grouped heads
        c.q_len = 9, c.kv_len = 1160, c.n_heads = 3, c.n_kv_heads = 1;
        c.head_dim = 16, c.v_dim = 8;
        c.mask = Mask::parse("causal");
        break;
      case 1:  // odd sizes, softcap
        c.q_len = 60, c.kv_len = 330, c.n_heads = 2, c.n_kv_heads = 2, c.head_dim = 11;
        c.v_dim = 5, c.softcap = 2, c.scale = -0.4f;
        c.mask = Mask::parse("causal & window(150, 0)");
        break;
      default:  // positions of their own, some far away
        c.q_len = 21, c.kv_len = 140, c.n_heads = 5, c.n_kv_heads = 1, c.head_dim = 16, c.v_dim = 8;
        c.mask = Mask::parse(
            "positions([5, 6, 7, 9, 9, 2, 100, 101, 102, 103, 104, 105, 106, 1000000000, 109, 110, "
            "111, 112, 113, 114, 115])");
    }
    return c;
  }
};

TEST_P(ForwardBiasInvariance, OneRow) {
  ForwardCase c = problem();
  const TestBias bias(std::get<0>(GetParam()), c);
  bias.put_into(c);
  const bool own_level = std::get<1>(GetParam()).own_level(best_isa());
  ForwardData data(c);
  const Outputs scalar = run_prefill(data, Isa::kScalar);
  for (const Isa isa : supported_isas()) {
    const Outputs expected = run_prefill(data, isa);
    const bool same = count_different(scalar, expected) == 0;
    EXPECT_EQ(same, !std::get<1>(GetParam()).own_level(isa)) << isa_name(isa);
    for (const int queries : {0, 1, 3}) {
      if (isa == Isa::kScalar && queries != 0) continue;
      EXPECT_EQ(count_different(expected, run_decode(data, isa, queries)), 0)
          << isa_name(isa) << ", calls of " << queries;
    }
    if (isa != best_isa() && !own_level) continue;
    for (const int tile_queries : {1, 5, 64}) {
      EXPECT_EQ(count_different(expected, run_prefill(data, isa, tile_queries, 3)), 0)
          << isa_name(isa) << ", tiles of " << tile_queries;
    }
  }
  ForwardCase paged = c;
  paged.page_size = 7, paged.layout = Layout::kSparse;
  ForwardData pages(paged);
  const Outputs expected = run_prefill(data, best_isa());
  EXPECT_EQ(count_different(expected, run_prefill(pages, best_isa())), 0);
  EXPECT_EQ(count_different(expected, run_decode(pages, best_isa())), 0);
}

INSTANTIATE_TEST_SUITE_P(All, ForwardBiasInvariance,
                         ::testing::Combine(::testing::ValuesIn(kKinds),
                                            ::testing::ValuesIn(kTestDtypes),
                                            ::testing::Range(0, 3)));

// What -inf in a dense bias hides may hold anything, as what a mask hides (semantics 8, 9).
TEST(ForwardBias, HiddenKeysMayHoldAnything) {
  for (const Dtypes& dtypes : kTestDtypes) {
    ForwardCase c;
    c.q_len = 23, c.kv_len = 300, c.n_heads = 4, c.n_kv_heads = 2, c.head_dim = 24, c.v_dim = 16;
    c.q_dtype = dtypes.q, c.kv_dtype = dtypes.kv;
    c.seed = 5;
    std::vector<float> numbers(static_cast<std::size_t>(c.q_len * c.kv_len), 0.25f);
    for (std::int64_t t = 0; t < c.q_len; ++t) {
      for (const std::int64_t key : {0, 7, 130, 299}) {
        if (t != 11) numbers[static_cast<std::size_t>(t * c.kv_len + key)] = -INFINITY;
      }
    }
    c.bias = bias::dense({numbers.data(), {1, 1, c.q_len, c.kv_len}});
    ForwardData clean(c), dirty(c);
    for (const std::int64_t key : {0, 7, 130, 299}) {
      for (int d = 0; d < c.v_dim; ++d) dirty.v.set(key, 0, d, d % 2 == 0 ? NAN : INFINITY);
      for (int d = 0; d < c.head_dim; ++d) dirty.k.set(key, 1, d, NAN);
    }
    for (const Isa isa : supported_isas()) {
      const Outputs expected = run_prefill(clean, isa), prefill = run_prefill(dirty, isa);
      const Outputs decode = run_decode(dirty, isa);
      EXPECT_EQ(count_different(prefill, decode), 0);
      for (std::int64_t t = 0; t < c.q_len; ++t) {
        for (int i = 0; i < c.n_heads * c.v_dim; ++i) {
          const auto at = static_cast<std::size_t>(t * c.n_heads * c.v_dim + i);
          if (t == 11) {
            ASSERT_FALSE(std::isfinite(prefill.out[at])) << isa_name(isa);
          } else {
            ASSERT_TRUE(same_bits(prefill.out[at], expected.out[at])) << isa_name(isa) << t;
          }
        }
      }
    }
  }
}

// NaN in a bias reaches its own row where the mask shows it, and nothing where it does not.
TEST(ForwardBias, NanReachesOnlyItsRow) {
  ForwardCase c;
  c.q_len = 20, c.kv_len = 20, c.n_heads = 2, c.n_kv_heads = 1, c.head_dim = 8, c.v_dim = 8;
  c.mask = Mask::parse("causal");
  std::vector<float> numbers(400, 0.5f), poisoned = numbers;
  poisoned[3 * 20 + 2] = NAN;                                               // visible
  for (std::size_t key = 8; key < 20; ++key) poisoned[7 * 20 + key] = NAN;  // the future
  c.bias = bias::dense({numbers.data(), {1, 1, 20, 20}});
  ForwardData clean(c);
  c.bias = bias::dense({poisoned.data(), {1, 1, 20, 20}});
  ForwardData dirty(c);
  for (const Isa isa : supported_isas()) {
    const Outputs expected = run_prefill(clean, isa), actual = run_prefill(dirty, isa);
    EXPECT_EQ(count_different(actual, run_decode(dirty, isa)), 0);
    for (std::size_t i = 0; i < actual.out.size(); ++i) {
      if (i / 16 == 3) {
        ASSERT_TRUE(std::isnan(actual.out[i]));
      } else {
        ASSERT_TRUE(same_bits(actual.out[i], expected.out[i])) << i;
      }
    }
  }
}

// Rows whose entries are all far below any score are still rows: an average, as of any equal
// scores.
TEST(ForwardBias, HugeNumbersAreNoMask) {
  for (const float number : {-3.4e38f, -1e9f, 3.4e38f, INFINITY}) {
    ForwardCase c;
    c.q_len = 3, c.kv_len = 50, c.head_dim = 8, c.v_dim = 4;
    const std::vector<float> numbers(50, number);
    c.bias = bias::dense({numbers.data(), {1, 1, 1, 50}});
    ForwardData data(c);
    for (const Isa isa : supported_isas()) {
      const Outputs actual = run_prefill(data, isa);
      EXPECT_EQ(count_different(actual, run_decode(data, isa)), 0);
      for (int d = 0; d < 4; ++d) {
        double mean = 0;
        for (std::int64_t key = 0; key < 50; ++key) {
          mean += static_cast<double>(data.v.value(key, 0, d)) / 50;
        }
        EXPECT_NEAR(actual.out[static_cast<std::size_t>(d)], mean, 1e-6) << number;
      }
    }
  }
}

// Semantics 13: a row that sees no key is 0 and its lse the sink.
TEST(ForwardSinks, RowsThatSeeNothing) {
  ForwardCase c;
  c.q_len = 5, c.kv_len = 3, c.n_heads = 3, c.n_kv_heads = 1, c.head_dim = 8, c.v_dim = 4;
  c.mask = Mask::parse("causal");
  c.sinks = {0.7f, -INFINITY, -123.25f};
  ForwardData data(c);
  for (const Isa isa : supported_isas()) {
    for (const Outputs& o : {run_prefill(data, isa), run_decode(data, isa)}) {
      for (std::size_t h = 0; h < 3; ++h) EXPECT_EQ(o.lse[h * 5 + 1], c.sinks[h]);
      for (std::size_t i = 0; i < 2 * 12; ++i) EXPECT_EQ(o.out[i], 0.0f);
    }
  }
}

// One key of score s and a sink z: out = v / (1 + e^(z - s)), lse = log(e^s + e^z); also where one
// of them is nothing beside the other.
TEST(ForwardSinks, OneKeyByHand) {
  for (const double s : {0.0, 3.0, -500.0, 1e5}) {
    for (const double z : {-2.0, 0.0, 40.0, 700.0, 3e38, -1e30}) {
      ForwardCase c;
      c.head_dim = c.v_dim = 1;
      c.scale = 1;
      c.sinks = {static_cast<float>(z)};
      ForwardData data(c);
      data.q.set(0, 0, 0, static_cast<float>(s));
      data.k.set(0, 0, 0, 1);
      data.v.set(0, 0, 0, 3);
      const double top = std::max(s, z);
      const double sum = std::exp(s - top) + std::exp(z - top);
      for (const Isa isa : supported_isas()) {
        const Outputs o = run_prefill(data, isa);
        EXPECT_EQ(count_different(o, run_decode(data, isa)), 0);
        EXPECT_NEAR(o.out[0], 3 * std::exp(s - top) / sum, 1e-5) << s << " " << z;
        if (std::fabs(top) < 1e6) {
          EXPECT_NEAR(o.lse[0], top + std::log(sum), 1e-6 * std::max(1.0, std::fabs(top)));
        }
      }
    }
  }
}

}  // namespace
}  // namespace raptly::testing
