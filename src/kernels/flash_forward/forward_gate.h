// The gate of docs/numerics.md for tests of the forward kernels.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "kernels/flash_forward/forward_test_case.h"

namespace raptly::testing {

// Where a level rounds p to bf16: a unit roundoff for p, and one more because the output may then
// round to its other neighbour. Stricter than the contract's 4 u (1 + scale q k), which f32 scores
// need not use.
constexpr double kBf16U = 2 * 0x1p-8;

// Textbook f32 loops, out rounded to its dtype: the error that is natural, and sum p |v|.
struct NaiveRow {
  std::vector<float> out;
  double max_abs_dot = 0;  // max over keys of scale * sum |q k| + |bias|
  std::vector<double> weighted_abs_v;
};

inline NaiveRow naive_row(const ForwardData& data, std::int64_t query, int head,
                          const MaskPredicate& sees) {
  const ForwardCase& c = data.problem();
  const int kv_head = head / c.group();
  NaiveRow row;
  std::vector<float> s;
  std::vector<std::int64_t> keys;
  const float sink = c.sinks.empty() ? -INFINITY : c.sinks[static_cast<std::size_t>(head)];
  float max = sink;
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
    abs_dot *= std::fabs(static_cast<double>(c.used_scale()));
    if (data.bias() != nullptr) {
      const auto bias = static_cast<float>(bias_of_pair(*data.bias(), head, query, key));
      if (bias == -INFINITY) continue;
      score += bias;
      abs_dot += std::fabs(static_cast<double>(bias));
    }
    row.max_abs_dot = std::max(row.max_abs_dot, abs_dot);
    max = std::max(max, score);
    s.push_back(score);
    keys.push_back(key);
  }
  float sum = sink == -INFINITY ? 0 : std::exp(sink - max);
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
inline void expect_within_gate(ForwardData& data, const Outputs& actual, double p_u,
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
        const auto of_scores = data.bias() ? static_cast<float>(4 * kU * naive.max_abs_dot) : 0.0f;
        const float allowed =
            p_u > 0 ? 1e-5f * size : 4 * (std::nextafter(size, INFINITY) - size) + of_scores;
        ASSERT_LE(std::fabs(actual.lse[l] - lse[l]), allowed)
            << what << ": query " << t << " head " << h;
      }
    }
  }
}

}  // namespace raptly::testing
