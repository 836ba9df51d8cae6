#include "kernels/flash_backward/reference.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/elements.h"
#include "mask/placement.h"

namespace raptly {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

void add_element(void* data, DType dtype, std::int64_t at, double x) {
  set_element(data, dtype, at, element(data, dtype, at) + x);
}

std::vector<double> read_row(const InputRows& rows, std::int64_t token, std::int64_t head, int n) {
  std::vector<double> row;
  for (int c = 0; c < n; ++c) {
    row.push_back(
        element(rows.at, rows.dtype,
                token * rows.token_stride + head * rows.head_stride + c * rows.dim_stride));
  }
  return row;
}

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t c = 0; c < a.size(); ++c) sum += a[c] * b[c];
  return sum;
}

// row += factor * x.
void add_row(const GradientRows& rows, std::int64_t token, std::int64_t head, double factor,
             const std::vector<double>& x) {
  if (rows.at == nullptr) return;
  for (std::size_t c = 0; c < x.size(); ++c) {
    add_element(rows.at, rows.dtype,
                token * rows.token_stride + head * rows.head_stride +
                    static_cast<std::int64_t>(c) * rows.dim_stride,
                factor * x[c]);
  }
}

void add_bias_gradient(const FlashBackwardItem& item, std::int64_t head, std::int64_t query,
                       std::int64_t key, double ds) {
  const BiasGradient& to = item.dbias;
  if (to.at == nullptr) return;
  const ScoreBias& bias = *item.forward.bias;
  if (bias.kind == BiasKind::kDense) {
    const std::int64_t at = head * to.head_stride + query * to.query_stride + key * to.key_stride;
    return add_element(to.at, to.dtype, at, ds);
  }
  const std::int64_t d =
      mask_detail::key_position(bias.scope, key) - mask_detail::query_position(bias.scope, query);
  if (bias.kind == BiasKind::kDistance) {
    return add_element(to.at, to.dtype, head * to.head_stride,
                       -static_cast<double>(std::abs(d)) * ds);
  }
  const std::int64_t place = std::clamp(d, -bias.reach, bias.reach) + bias.reach;
  const std::int64_t entry = to.entry_of == nullptr ? place : to.entry_of[place];
  add_element(to.at, to.dtype, head * to.head_stride + entry * to.key_stride, ds);
}

// A pair that the row sees.
struct Pair {
  std::int64_t key;
  double score, slope;  // slope: of the softcap
  double weight = 0, dweight = 0;
};

class Row {
 public:
  Row(const FlashBackwardItem& item, std::int64_t query, std::int64_t head)
      : item_(item),
        query_(query),
        head_(head),
        q_(read_row({f().q, f().q_dtype, f().q_token_stride, f().q_head_stride, f().q_dim_stride},
                    query, head, f().head_dim)),
        dout_(read_row(item.dout, query, head, f().v_dim)) {}

  void see(const std::function<int(std::int64_t, std::int64_t)>& sees) {
    for (std::int64_t key = 0; key < f().kv->length; ++key) {
      int n = sees(query_, key);
      if (n == 0) continue;
      const double bias = f().bias == nullptr ? 0 : bias_of_pair(*f().bias, head_, query_, key);
      if (bias == -kInfinity) continue;
      double score = dot(q_, key_row(key)) * f().scale, slope = 1;
      if (const double cap = static_cast<double>(f().softcap); cap > 0) {
        const double t = std::tanh(score / cap);
        score = cap * t;
        slope = 1 - t * t;
      }
      for (; n > 0; --n) pairs_.push_back({key, score + bias, slope});
    }
  }

  void add_gradients() {
    const double sink = f().sinks == nullptr ? -kInfinity : static_cast<double>(f().sinks[head_]);
    if (pairs_.empty() && sink == -kInfinity) return;
    double max = sink, sum = 0;
    for (const Pair& pair : pairs_) max = std::fmax(max, pair.score);
    for (Pair& pair : pairs_) sum += pair.weight = std::exp(pair.score - max);
    const double sink_weight = std::exp(sink - max);
    sum += sink_weight;
    double delta = item_.dlse.at == nullptr ? 0 : -read_row(item_.dlse, query_, head_, 1)[0];
    for (Pair& pair : pairs_) {
      pair.weight /= sum;
      pair.dweight = dot(dout_, value_row(pair.key));
      delta += pair.weight * pair.dweight;
    }
    for (const Pair& pair : pairs_) {
      const double ds = pair.weight * (pair.dweight - delta);
      const double dot_gradient = ds * pair.slope * f().scale;
      add_bias_gradient(item_, head_, query_, pair.key, ds);
      add_row(item_.dv, pair.key, f().kv_head, pair.weight, dout_);
      add_row(item_.dk, pair.key, f().kv_head, dot_gradient, q_);
      add_row(item_.dq, query_, head_, dot_gradient, key_row(pair.key));
    }
    if (item_.dsinks.at != nullptr) {
      add_element(item_.dsinks.at, item_.dsinks.dtype, head_ * item_.dsinks.head_stride,
                  -sink_weight / sum * delta);
    }
  }

 private:
  const FlashForwardItem& f() const { return item_.forward; }
  std::vector<double> key_row(std::int64_t key) const {
    const KvView& kv = *f().kv;
    return read_row({kv.runs[0].k, kv.dtype, kv.k_token_stride, kv.k_head_stride, kv.k_dim_stride},
                    key, f().kv_head, f().head_dim);
  }
  std::vector<double> value_row(std::int64_t key) const {
    const KvView& kv = *f().kv;
    return read_row({kv.runs[0].v, kv.dtype, kv.v_token_stride, kv.v_head_stride, kv.v_dim_stride},
                    key, f().kv_head, f().v_dim);
  }

  const FlashBackwardItem& item_;
  std::int64_t query_, head_;
  std::vector<double> q_, dout_;
  std::vector<Pair> pairs_;
};

}  // namespace

void flash_backward_reference(const FlashBackwardItem& item, std::int64_t q_len,
                              const std::function<int(std::int64_t, std::int64_t)>& sees) {
  for (int g = 0; g < item.forward.group; ++g) {
    for (std::int64_t query = 0; query < q_len; ++query) {
      Row row(item, query, item.forward.first_head + g);
      row.see(sees);
      row.add_gradients();
    }
  }
}

}  // namespace raptly
