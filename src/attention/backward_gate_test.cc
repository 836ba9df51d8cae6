// The gate of docs/numerics.md for gradients: row by row at most three times the error of the naive
// computation in the same dtype, and a few roundings of what the row sums up.
#include <gtest/gtest.h>

#include "attention/backward_test_problem.h"

namespace raptly {
namespace {

using namespace attention_testing;

// Gradients [rows][dim] of one tensor.
struct Rows {
  std::int64_t dim;
  std::vector<double> value, magnitude;  // magnitude: a sum of sizes, nothing cancelled

  Rows(std::int64_t rows, std::int64_t n)
      : dim(n),
        value(static_cast<std::size_t>(rows * n)),
        magnitude(static_cast<std::size_t>(rows * n)) {}
};

struct NaiveGradients {
  Rows dq, dk, dv;
  double spread = 0;  // the largest sum of |scale q k| of a pair
};

double rounded_to(DType dtype, double x) {
  if (dtype == DType::kBf16) return static_cast<double>(to_float(to_bf16(static_cast<float>(x))));
  if (dtype == DType::kF16) return static_cast<double>(to_float(to_f16(static_cast<float>(x))));
  return dtype == DType::kF32 ? static_cast<double>(static_cast<float>(x)) : x;
}

// One batch entry, causal, materialised: T holds every sum, `storage` p, ds and the results.
template <class T>
NaiveGradients naive_gradients(const BackwardProblem& p, DType storage) {
  const Sizes& s = p.forward.sizes;
  const auto round = [&](T x) {
    return static_cast<T>(rounded_to(storage, static_cast<double>(x)));
  };
  const auto at = [](const TestTensor& t, std::int64_t i, std::int64_t h, std::int64_t d) {
    return static_cast<T>(t.get(t.index(0, i, h, d)));
  };
  NaiveGradients g{Rows(s.q_len * s.n_heads, s.head_dim), Rows(s.kv_len * s.n_kv_heads, s.head_dim),
                   Rows(s.kv_len * s.n_kv_heads, s.v_dim)};
  const auto add = [&](Rows& rows, std::int64_t row, std::int64_t d, T weight, T size, T x) {
    const auto i = static_cast<std::size_t>(row * rows.dim + d);
    rows.value[i] = static_cast<double>(static_cast<T>(rows.value[i]) + weight * x);
    rows.magnitude[i] += std::fabs(static_cast<double>(size * x));
  };
  const T scale = 1 / std::sqrt(static_cast<T>(s.head_dim));
  for (std::int64_t h = 0; h < s.n_heads; ++h) {
    const std::int64_t kv = h / (s.n_heads / s.n_kv_heads);
    for (std::int64_t i = 0; i < s.q_len; ++i) {
      const std::int64_t n = i + s.kv_len - s.q_len + 1;
      std::vector<T> weight, dweight, sizes;  // sizes: of what dweight sums up
      T max = -INFINITY, sum = 0, delta = 0, delta_size = 0;
      for (std::int64_t j = 0; j < n; ++j) {
        T score = 0, product = 0, products = 0;
        double size = 0;
        for (std::int64_t d = 0; d < s.head_dim; ++d) {
          const T x = at(p.forward.q, i, h, d) * at(p.forward.k, j, kv, d);
          score += x;
          size += std::fabs(static_cast<double>(x * scale));
        }
        for (std::int64_t d = 0; d < s.v_dim; ++d) {
          const T x = at(p.dout, i, h, d) * at(p.forward.v, j, kv, d);
          product += x;
          products += std::abs(x);
        }
        weight.push_back(score * scale);
        dweight.push_back(product);
        sizes.push_back(products);
        max = std::max(max, weight.back());
        g.spread = std::max(g.spread, size);
      }
      for (T& w : weight) sum += w = std::exp(w - max);
      for (std::size_t j = 0; j < weight.size(); ++j) {
        weight[j] = round(weight[j] / sum);
        delta += weight[j] * dweight[j];
        delta_size += weight[j] * sizes[j];
      }
      for (std::int64_t j = 0; j < n; ++j) {
        const auto at_j = static_cast<std::size_t>(j);
        const T w = weight[at_j], ds = scale * round(w * (dweight[at_j] - delta));
        const T size = scale * w * (sizes[at_j] + delta_size);
        for (std::int64_t d = 0; d < s.v_dim; ++d) {
          add(g.dv, j * s.n_kv_heads + kv, d, w, w, at(p.dout, i, h, d));
        }
        for (std::int64_t d = 0; d < s.head_dim; ++d) {
          add(g.dk, j * s.n_kv_heads + kv, d, ds, size, at(p.forward.q, i, h, d));
          add(g.dq, i * s.n_heads + h, d, ds, size, at(p.forward.k, j, kv, d));
        }
      }
    }
  }
  for (Rows* rows : {&g.dq, &g.dk, &g.dv}) {
    for (double& x : rows->value) x = rounded_to(storage, x);
  }
  return g;
}

void expect_within_gate(const TestTensor& ours, const Rows& exact, const Rows& naive, double slack,
                        const char* name) {
  const std::int64_t heads = ours.shape.size(2);
  double worst = 0;
  for (std::int64_t row = 0; row * exact.dim < static_cast<std::int64_t>(exact.value.size());
       ++row) {
    double naive_error = 0, error = 0, magnitude = 0;
    for (std::int64_t d = 0; d < exact.dim; ++d) {
      const auto i = static_cast<std::size_t>(row * exact.dim + d);
      const double x = ours.get(ours.index(0, row / heads, row % heads, d));
      naive_error = std::max(naive_error, std::fabs(naive.value[i] - exact.value[i]));
      error = std::max(error, std::fabs(x - exact.value[i]));
      magnitude = std::max(magnitude, exact.magnitude[i]);
    }
    const double gate = 3 * naive_error + slack * magnitude;
    worst = std::isnan(error) ? INFINITY : std::max(worst, error / gate);
  }
  EXPECT_LE(worst, 1) << name;
}

TEST(BackwardGate, EveryLevelAndDtype) {
  for (const Isa isa : supported_isas()) {
    ExecutionContext context(2, isa);
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBf16}) {
      for (const Sizes& s : {Sizes{1, 70, 130, 2, 1, 33, 20}, Sizes{1, 150, 150, 2, 2, 64, 64}}) {
        SCOPED_TRACE(std::string(isa_name(isa)) + " " + dtype_name(dtype));
        BackwardProblem p(s, dtype, 21);
        p.forward.options.mask = mask::causal();
        p.run(context);
        const NaiveGradients exact = naive_gradients<double>(p, DType::kF64);
        const NaiveGradients naive = naive_gradients<float>(p, dtype);
        const double stored = dtype == DType::kF32 ? 0 : dtype == DType::kF16 ? 0x1p-12 : 0x1p-9;
        const double slack = 2 * 0x1p-24 * (1 + exact.spread) + stored;  // out is stored, too
        expect_within_gate(p.dq, exact.dq, naive.dq, slack, "dq");
        expect_within_gate(p.dk, exact.dk, naive.dk, slack, "dk");
        expect_within_gate(p.dv, exact.dv, naive.dv, slack, "dv");
      }
    }
  }
}

}  // namespace
}  // namespace raptly
