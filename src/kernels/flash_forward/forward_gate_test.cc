// The gate of docs/numerics.md: kernels against the reference in double.
#include <gtest/gtest.h>

#include <cmath>

#include "kernels/flash_forward/forward_test_case.h"

namespace raptly::testing {
namespace {

// Where a level rounds p to bf16: a unit roundoff for p, and one more because the output may then
// round to its other neighbour. Stricter than the contract's 4 u (1 + scale q k), which f32 scores
// need not use.
constexpr double kBf16U = 2 * 0x1p-8;

// Textbook f32 loops, out rounded to its dtype: the error that is natural, and sum p |v|.
struct NaiveRow {
  std::vector<float> out;
  double max_abs_dot = 0;  // scale * max over keys of sum |q k|
  std::vector<double> weighted_abs_v;
};

NaiveRow naive_row(const ForwardData& data, std::int64_t query, int head,
                   const MaskPredicate& sees) {
  const ForwardCase& c = data.problem();
  const int kv_head = head / c.group();
  NaiveRow row;
  std::vector<float> s;
  std::vector<std::int64_t> keys;
  float max = -INFINITY;
  for (std::int64_t key = 0; key < c.kv_len; ++key) {
    if (!sees(query, key)) continue;
    float dot = 0;
    double abs_dot = 0;
    for (int d = 0; d < c.head_dim; ++d) {
      const float product = data.q.value(query, head, d) * data.k.value(key, kv_head, d);
      dot += product;
      abs_dot += std::fabs(static_cast<double>(product));
    }
    float score = dot * c.used_scale();
    if (c.softcap > 0) score = c.softcap * std::tanh(score / c.softcap);
    row.max_abs_dot = std::max(row.max_abs_dot, abs_dot * static_cast<double>(c.used_scale()));
    max = std::max(max, score);
    s.push_back(score);
    keys.push_back(key);
  }
  float sum = 0;
  std::vector<float> o(static_cast<std::size_t>(c.v_dim));
  row.weighted_abs_v.resize(o.size());
  for (std::size_t i = 0; i < s.size(); ++i) {
    const float p = std::exp(s[i] - max);
    sum += p;
    for (int d = 0; d < c.v_dim; ++d) {
      const float v = data.v.value(keys[i], kv_head, d);
      o[static_cast<std::size_t>(d)] += p * v;
      row.weighted_abs_v[static_cast<std::size_t>(d)] += static_cast<double>(p * std::fabs(v));
    }
  }
  for (int d = 0; d < c.v_dim; ++d) {
    const std::size_t i = static_cast<std::size_t>(d);
    float rounded[1];
    put(rounded, c.out_dtype, 0, s.empty() ? 0.0f : o[i] / sum);
    row.out.push_back(get(rounded, c.out_dtype, 0));
    if (!s.empty()) row.weighted_abs_v[i] /= static_cast<double>(sum);
  }
  return row;
}

// p_u: kBf16U where p is rounded, else 0.
void expect_within_gate(ForwardData& data, const Outputs& actual, double p_u,
                        const std::string& what) {
  const ForwardCase& c = data.problem();
  const MaskPredicate sees(c.mask, c.scope());
  data.view();
  std::vector<double> ref(static_cast<std::size_t>(c.q_len * c.n_heads * c.v_dim));
  std::vector<float> lse(static_cast<std::size_t>(c.q_len * c.n_heads));
  for (int h = 0; h < c.n_kv_heads; ++h) {
    FlashForwardItem item = data.item(h);
    item.out = ref.data();
    item.out_dtype = DType::kF64;
    item.out_token_stride = std::int64_t{c.n_heads} * c.v_dim;
    item.out_head_stride = c.v_dim;
    item.lse = lse.data();
    flash_forward_reference(item, {0, c.q_len}, sees);
  }
  constexpr double kU = 5.9604644775390625e-8;
  for (std::int64_t t = 0; t < c.q_len; ++t) {
    for (int h = 0; h < c.n_heads; ++h) {
      const NaiveRow naive = naive_row(data, t, h, sees);
      const std::size_t at = static_cast<std::size_t>((t * c.n_heads + h) * c.v_dim);
      double natural = 0;
      for (std::size_t d = 0; d < naive.out.size(); ++d) {
        natural = std::max(natural, std::fabs(static_cast<double>(naive.out[d]) - ref[at + d]));
      }
      for (std::size_t d = 0; d < naive.out.size(); ++d) {
        const double allowed =
            2 * natural + (4 * kU * (1 + naive.max_abs_dot) + p_u) * naive.weighted_abs_v[d];
        ASSERT_LE(std::fabs(static_cast<double>(actual.out[at + d]) - ref[at + d]), allowed)
            << what << ": query " << t << " head " << h << " dim " << d;
      }
      const std::size_t l = static_cast<std::size_t>(h * c.q_len + t);
      if (std::isinf(lse[l])) {
        ASSERT_EQ(actual.lse[l], lse[l]) << what << ": query " << t << " head " << h;
        for (std::size_t d = 0; d < naive.out.size(); ++d) ASSERT_EQ(actual.out[at + d], 0.0f);
      } else {
        const float size = std::max(1.0f, std::fabs(lse[l]));
        const float allowed = p_u > 0 ? 1e-5f * size : 4 * (std::nextafter(size, INFINITY) - size);
        ASSERT_LE(std::fabs(actual.lse[l] - lse[l]), allowed)
            << what << ": query " << t << " head " << h;
      }
    }
  }
}

struct Geometry {
  std::int64_t q_len, kv_len;
  int n_heads, n_kv_heads, head_dim, v_dim;
  const char* mask;
};

class ForwardGate : public ::testing::TestWithParam<Geometry> {};

TEST_P(ForwardGate, EveryLevelAndDtype) {
  const Geometry& g = GetParam();
  for (DType kv : {DType::kF32, DType::kBf16, DType::kF16}) {
    ForwardCase c;
    c.q_len = g.q_len, c.kv_len = g.kv_len;
    c.n_heads = g.n_heads, c.n_kv_heads = g.n_kv_heads;
    c.head_dim = g.head_dim, c.v_dim = g.v_dim;
    c.mask = Mask::parse(g.mask);
    c.kv_dtype = kv;
    c.q_dtype = c.out_dtype = kv;
    ForwardData data(c);
    for (Isa isa : supported_isas()) {
      const double p_u = Dtypes{kv, kv}.own_level(isa) ? kBf16U : 0;
      expect_within_gate(data, run_prefill(data, isa), p_u,
                         std::string(isa_name(isa)) + " prefill " + dtype_name(kv));
      expect_within_gate(data, run_decode(data, isa), p_u,
                         std::string(isa_name(isa)) + " decode " + dtype_name(kv));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, ForwardGate,
    ::testing::Values(Geometry{1, 1, 1, 1, 1, 1, "all"}, Geometry{3, 5, 2, 1, 7, 3, "all"},
                      Geometry{17, 129, 2, 2, 33, 33, "causal"},
                      Geometry{50, 50, 3, 1, 16, 24, "causal"},
                      Geometry{5, 1100, 1, 1, 64, 64, "causal"},
                      Geometry{70, 70, 7, 1, 20, 12, "causal(corner=\"top_left\")"},
                      Geometry{40, 300, 2, 2, 8, 8, "causal & window(37, 0)"},
                      Geometry{9, 4, 1, 1, 5, 6, "causal"}));

}  // namespace
}  // namespace raptly::testing
