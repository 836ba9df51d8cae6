// Random problems for the tests of attention_backward(), and the loss whose gradients it gives.
#pragma once

#include <functional>
#include <optional>

#include "attention/test_problem.h"
#include "mask/bias_terms.h"
#include "mask/predicate.h"
#include "raptly/backward.h"

namespace raptly::attention_testing {

// A flat array of f32 or f64.
struct TestArray {
  TestTensor tensor;
  explicit TestArray(DType dtype, std::int64_t n) : tensor(dtype, {1, 1, 1, n}) {}
  MutableTensorView view(std::vector<std::int64_t> sizes) {
    return {tensor.bytes.data(), tensor.dtype, TensorShape(sizes)};
  }
};

struct BackwardProblem {
  TestProblem forward;
  TestTensor dout, dq, dk, dv;
  TestArray dlse;
  bool with_dlse = false;
  std::vector<float> sinks;
  std::optional<TestArray> dbias, dsinks;
  std::vector<std::int64_t> dbias_sizes;
  bool accumulate = false;

  BackwardProblem(const Sizes& s, DType dtype, unsigned seed, bool permuted = false)
      : forward(s, dtype, dtype, seed, permuted),
        dout(dtype, {s.batch, s.q_len, s.n_heads, s.v_dim}, permuted),
        dq(dtype, {s.batch, s.q_len, s.n_heads, s.head_dim}, permuted),
        dk(dtype, {s.batch, s.kv_len, s.n_kv_heads, s.head_dim}, permuted),
        dv(dtype, {s.batch, s.kv_len, s.n_kv_heads, s.v_dim}, permuted),
        dlse(dtype == DType::kF64 ? dtype : DType::kF32, s.batch * s.n_heads * s.q_len) {
    forward.out = TestTensor(dtype, {s.batch, s.q_len, s.n_heads, s.v_dim}, permuted);
    std::mt19937 random(seed + 1);
    dout.fill(random);
    dlse.tensor.fill(random);
    for (TestTensor* t : {&dq, &dk, &dv}) {
      for (std::int64_t i = 0; i < t->numel(); ++i) t->set(i, 7);
    }
  }
  DType sum_dtype() const { return dlse.tensor.dtype; }
  void set_sinks(std::vector<float> values) {
    sinks = std::move(values);
    const auto n = static_cast<std::int64_t>(sinks.size());
    forward.options.sinks = TensorView(sinks.data(), {n});
    dsinks.emplace(sum_dtype(), n);
  }
  void set_bias(const Bias& bias, const std::vector<std::int64_t>& sizes) {
    forward.options.bias = bias;
    dbias_sizes = sizes;
    std::int64_t n = 1;
    for (const std::int64_t size : sizes) n *= size;
    dbias.emplace(sum_dtype(), n);
  }

  BackwardInputs inputs() {
    const Sizes& s = forward.sizes;
    BackwardInputs in;
    in.dout = dout.view();
    in.q = forward.q.view();
    in.k = forward.k.view();
    in.v = forward.v.view();
    in.out = forward.out.view();
    in.lse = forward.lse_view();
    if (with_dlse) in.dlse = dlse.view({s.batch, s.n_heads, s.q_len});
    return in;
  }
  AttentionGradients gradients() {
    AttentionGradients g;
    g.dq = dq.view();
    g.dk = dk.view();
    g.dv = dv.view();
    if (dbias) g.dbias = dbias->view(dbias_sizes);
    if (dsinks) g.dsinks = dsinks->view({static_cast<std::int64_t>(sinks.size())});
    g.accumulate = accumulate;
    return g;
  }
  void run_backward(ExecutionContext& context) {
    attention_backward(inputs(), gradients(), forward.options, context);
  }
  void run(ExecutionContext& context) {
    forward.run(context);
    run_backward(context);
  }
};

// Longformer's second projections with their gradients.
struct GlobalTensors {
  TestTensor q, k, v, dq, dk, dv;

  GlobalTensors(const BackwardProblem& p, unsigned seed)
      : q(p.forward.q), k(p.forward.k), v(p.forward.v), dq(p.dq), dk(p.dk), dv(p.dv) {
    std::mt19937 random(seed);
    q.fill(random);
    k.fill(random);
    v.fill(random);
  }
  void give_to(BackwardProblem& p) {
    p.forward.options.q_global = q.view();
    p.forward.options.k_global = k.view();
    p.forward.options.v_global = v.view();
  }
  AttentionGradients gradients(BackwardProblem& p) {
    AttentionGradients g = p.gradients();
    g.dq_global = dq.view();
    g.dk_global = dk.view();
    g.dv_global = dv.view();
    return g;
  }
};

// sum of dout out + sum of dlse lse, with attention written down once more: all of a row's scores,
// in double.
// global: the rows whose queries take their own projections.
inline double loss_of(const BackwardProblem& p, const GlobalTensors* global = nullptr,
                      const std::vector<std::int64_t>& global_rows = {}) {
  const Sizes& s = p.forward.sizes;
  const AttentionOptions& options = p.forward.options;
  const double scale = options.scale ? static_cast<double>(*options.scale)
                                     : 1 / std::sqrt(static_cast<double>(s.head_dim));
  double loss = 0;
  for (std::int64_t b = 0; b < s.batch; ++b) {
    for (std::int64_t h = 0; h < s.n_heads; ++h) {
      const MaskScope scope = bottom_right_scope(s.q_len, s.kv_len, b, h);
      const MaskPredicate sees(options.mask, scope);
      std::optional<ScoreBias> bias;
      if (options.bias.given()) {
        bias = score_bias(*options.bias.terms(), mask_detail::place_mask(options.mask, scope));
      }
      const std::int64_t kv_head = h / (s.n_heads / s.n_kv_heads);
      for (std::int64_t i = 0; i < s.q_len; ++i) {
        const bool own = std::find(global_rows.begin(), global_rows.end(), i) != global_rows.end();
        const TestTensor &q = own ? global->q : p.forward.q, &k = own ? global->k : p.forward.k,
                         &v = own ? global->v : p.forward.v;
        double sum = p.sinks.empty()
                         ? 0
                         : std::exp(static_cast<double>(p.sinks[static_cast<std::size_t>(h)]));
        double weighted = 0;
        for (std::int64_t j = 0; j < s.kv_len; ++j) {
          double score = 0, value = 0;
          for (std::int64_t d = 0; d < s.head_dim; ++d) {
            score += q.get(q.index(b, i, h, d)) * k.get(k.index(b, j, kv_head, d)) * scale;
          }
          for (std::int64_t d = 0; d < s.v_dim; ++d) {
            value += p.dout.get(p.dout.index(b, i, h, d)) * v.get(v.index(b, j, kv_head, d));
          }
          if (options.softcap) {
            const double cap = static_cast<double>(*options.softcap);
            score = cap * std::tanh(score / cap);
          }
          if (bias) score += bias_of_pair(*bias, h, i, j);
          const double e = sees(i, j) * std::exp(score);
          sum += e;
          weighted += e * value;
        }
        if (sum == 0) continue;
        loss += weighted / sum;
        if (p.with_dlse) {
          loss += p.dlse.tensor.get((b * s.n_heads + h) * s.q_len + i) * std::log(sum);
        }
      }
    }
  }
  return loss;
}

// The derivative of loss(x) at x = 0: differences of fourth order, steps that f32 has exactly.
inline double slope_of(const std::function<double(double)>& loss) {
  constexpr double kStep = 0x1p-8;
  const double far = loss(2 * kStep) - loss(-2 * kStep), near = loss(kStep) - loss(-kStep);
  return (8 * near - far) / (12 * kStep);
}

}  // namespace raptly::attention_testing
