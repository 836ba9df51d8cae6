#include "kernels/row_statistics/reference.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "base/elements.h"

namespace raptly {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

double score(const FlashForwardItem& item, std::int64_t query, const KvRun& run, std::int64_t i) {
  const std::int64_t q_at = query * item.q_token_stride + item.first_head * item.q_head_stride;
  const std::int64_t k_at = i * item.kv->k_token_stride + item.kv_head * item.kv->k_head_stride;
  double dot = 0;
  for (int c = 0; c < item.head_dim; ++c) {
    dot += element(item.q, item.q_dtype, q_at + c * item.q_dim_stride) *
           element(run.k, item.kv->dtype, k_at + c * item.kv->k_dim_stride);
  }
  const double s = dot * item.scale, cap = static_cast<double>(item.softcap);
  const double capped = cap > 0 ? cap * std::tanh(s / cap) : s;
  if (item.bias == nullptr) return capped;
  return capped + bias_of_pair(*item.bias, item.first_head, query, run.first_ordinal + i);
}

double lse_of(const FlashForwardItem& item, std::int64_t query) {
  return static_cast<double>(
      item.lse[item.first_head * item.lse_head_stride + query * item.lse_token_stride]);
}

// f(key, score) for each pair of the query, in order of the keys.
template <class F>
void each_pair(const FlashForwardItem& item, std::int64_t query, const SeesPair& sees, F&& f) {
  for (const KvRun& run : item.kv->runs) {
    for (std::int64_t i = 0; i < run.n; ++i) {
      const std::int64_t key = run.first_ordinal + i;
      for (int n = sees(query, key); n > 0; --n) {
        const double s = score(item, query, run, i);
        if (s != -kInfinity) f(key, s);
      }
    }
  }
}

void write_top(const RowStatisticsItem& item, std::int64_t query, double lse,
               std::vector<std::pair<double, std::int64_t>>& pairs) {
  if (std::isnan(lse)) pairs.clear();  // NaN scores have no order
  std::sort(pairs.begin(), pairs.end(), [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : a.second < b.second;
  });
  const std::int64_t row = item.rows.first_head * item.q_len + query;
  for (int i = 0; i < item.top_k; ++i) {
    const bool given = static_cast<std::size_t>(i) < pairs.size();
    item.top_index[row * item.top_k + i] = given ? pairs[static_cast<std::size_t>(i)].second : -1;
    item.top_weight[row * item.top_k + i] =
        static_cast<float>(given ? std::exp(pairs[static_cast<std::size_t>(i)].first - lse)
                           : std::isnan(lse) ? lse
                                             : 0);
  }
}

}  // namespace

void row_statistics_reference(const RowStatisticsItem& item, const SeesPair& sees) {
  const std::int64_t head = item.rows.first_head;
  for (std::int64_t query = 0; query < item.q_len; ++query) {
    const double lse = lse_of(item.rows, query);
    double entropy = std::isnan(lse) ? lse : 0, most = std::isnan(lse) ? lse : -kInfinity;
    std::vector<std::pair<double, std::int64_t>> pairs;
    each_pair(item.rows, query, sees, [&](std::int64_t key, double s) {
      entropy += std::exp(s - lse) * (lse - s);
      if (s > most) most = s;
      pairs.emplace_back(s, key);
    });
    if (item.entropy != nullptr) {
      item.entropy[head * item.entropy_head_stride + query * item.entropy_token_stride] =
          static_cast<float>(entropy);
    }
    if (item.max != nullptr) {
      item.max[head * item.max_head_stride + query * item.max_token_stride] =
          static_cast<float>(most);
    }
    if (item.top_k > 0) write_top(item, query, lse, pairs);
  }
}

void column_mass_reference(const ColumnMassItem& item, std::int64_t q_len, const SeesPair& sees) {
  std::vector<double> mass(static_cast<std::size_t>(item.n_keys));
  for (std::int64_t query = 0; query < q_len; ++query) {
    const double lse = lse_of(item.rows, query);
    each_pair(item.rows, query, sees, [&](std::int64_t key, double s) {
      mass[static_cast<std::size_t>(key)] += std::exp(s - lse);
    });
  }
  for (std::int64_t key = 0; key < item.n_keys; ++key) {
    item.mass[item.rows.first_head * item.mass_head_stride + key * item.mass_key_stride] =
        static_cast<float>(mass[static_cast<std::size_t>(key)]);
  }
}

}  // namespace raptly
