#include "kernels/flash_forward/reference.h"

#include <cmath>
#include <limits>

#include "base/elements.h"

namespace raptly {
namespace {

constexpr int kMaxDim = 1024;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

class Row {
 public:
  Row(const FlashForwardItem& item, std::int64_t query, std::int64_t head)
      : item_(item), query_(query), head_(head) {
    for (int c = 0; c < item.head_dim; ++c) {
      q_[c] =
          element(item.q, item.q_dtype,
                  query * item.q_token_stride + head * item.q_head_stride + c * item.q_dim_stride);
    }
  }

  std::int64_t query() const { return query_; }
  std::int64_t head() const { return head_; }

  double score(const KvRun& run, std::int64_t i) const {
    const KvView& kv = *item_.kv;
    const std::int64_t at = i * kv.k_token_stride + item_.kv_head * kv.k_head_stride;
    double dot = 0;
    for (int c = 0; c < item_.head_dim; ++c) {
      dot += q_[c] * element(run.k, kv.dtype, at + c * kv.k_dim_stride);
    }
    const double s = dot * item_.scale;
    const double cap = static_cast<double>(item_.softcap);
    return cap > 0 ? cap * std::tanh(s / cap) : s;
  }

  void add(const KvRun& run, std::int64_t i, double weight) {
    const KvView& kv = *item_.kv;
    const std::int64_t at = i * kv.v_token_stride + item_.kv_head * kv.v_head_stride;
    for (int c = 0; c < item_.v_dim; ++c) {
      o_[c] += weight * element(run.v, kv.dtype, at + c * kv.v_dim_stride);
    }
  }

  void write(double sum, double lse) {
    for (int c = 0; c < item_.v_dim; ++c) {
      set_element(item_.out, item_.out_dtype,
                  query_ * item_.out_token_stride + head_ * item_.out_head_stride +
                      c * item_.out_dim_stride,
                  sum == 0 ? 0.0 : o_[c] / sum);
    }
    if (item_.lse != nullptr) {
      item_.lse[head_ * item_.lse_head_stride + query_ * item_.lse_token_stride] =
          static_cast<float>(lse);
    }
  }

 private:
  const FlashForwardItem& item_;
  std::int64_t query_, head_;
  double q_[kMaxDim] = {};
  double o_[kMaxDim] = {};
};

// f(run, index in the run, bias) for each key that the row sees, as often as it does.
template <class Sees, class F>
void each_visible(const FlashForwardItem& item, const Row& row, const Sees& sees, F&& f) {
  for (const KvRun& run : item.kv->runs) {
    for (std::int64_t i = 0; i < run.n; ++i) {
      const std::int64_t key = run.first_ordinal + i;
      int n = sees(row.query(), key);
      if (n == 0) continue;
      const double bias =
          item.bias == nullptr ? 0 : bias_of_pair(*item.bias, row.head(), row.query(), key);
      for (; bias != -kInfinity && n > 0; --n) f(run, i, bias);
    }
  }
}

}  // namespace

// The scores are computed twice rather than kept: no memory that grows with kv_len.
void flash_forward_reference(const FlashForwardItem& item, QueryRange queries,
                             const std::function<int(std::int64_t, std::int64_t)>& sees) {
  for (std::int64_t query = queries.begin; query < queries.end; ++query) {
    for (int g = 0; g < item.group; ++g) {
      Row row(item, query, item.first_head + g);
      const double sink =
          item.sinks == nullptr ? -kInfinity : static_cast<double>(item.sinks[row.head()]);
      double max = sink, sum = 0;
      each_visible(item, row, sees, [&](const KvRun& run, std::int64_t i, double bias) {
        max = std::fmax(max, row.score(run, i) + bias);
      });
      each_visible(item, row, sees, [&](const KvRun& run, std::int64_t i, double bias) {
        const double weight = std::exp(row.score(run, i) + bias - max);
        sum += weight;
        row.add(run, i, weight);
      });
      if (sink > -kInfinity) sum += std::exp(sink - max);
      row.write(sum, sum == 0 ? -kInfinity : max + std::log(sum));
    }
  }
}

}  // namespace raptly
