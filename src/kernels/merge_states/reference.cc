#include "kernels/merge_states/reference.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/elements.h"

namespace raptly {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

class Row {
 public:
  Row(const MergeItem& item, std::int64_t query, std::int64_t head)
      : item_(item), query_(query), head_(head) {}

  double lse(const MergeSource& state) const {
    return static_cast<double>(
        state.lse[query_ * state.lse_strides.token + head_ * state.lse_strides.head]);
  }
  double value(const MergeSource& state, std::int64_t c) const {
    return element(state.out, item_.dtype, place(state.out_strides, c));
  }
  void write(std::int64_t c, double value) const {
    set_element(item_.out, item_.out_dtype, place(item_.out_strides, c), value);
  }
  void write_lse(double value) const {
    if (item_.lse == nullptr) return;
    item_.lse[query_ * item_.lse_strides.token + head_ * item_.lse_strides.head] =
        static_cast<float>(value);
  }

 private:
  std::int64_t place(const MergeStrides& strides, std::int64_t c) const {
    return query_ * strides.token + head_ * strides.head + c * strides.dim;
  }

  const MergeItem& item_;
  std::int64_t query_, head_;
};

}  // namespace

void merge_states_reference(const MergeItem& item) {
  std::vector<double> merged(static_cast<std::size_t>(item.v_dim));
  for (std::int64_t query = item.query_begin; query < item.query_end; ++query) {
    for (std::int64_t head = 0; head < item.n_heads; ++head) {
      const Row row(item, query, head);
      double most = -kInfinity, sum = 0;
      for (const MergeSource& state : item.states) most = std::fmax(most, row.lse(state));
      std::fill(merged.begin(), merged.end(), 0.0);
      for (const MergeSource& state : item.states) {
        const double lse = row.lse(state);
        if (lse == -kInfinity) continue;
        const double weight = std::exp(lse - most);
        sum += weight;
        for (std::int64_t c = 0; c < item.v_dim; ++c) {
          merged[static_cast<std::size_t>(c)] += weight * row.value(state, c);
        }
      }
      for (std::int64_t c = 0; c < item.v_dim; ++c) {
        row.write(c, sum == 0 ? 0.0 : merged[static_cast<std::size_t>(c)] / sum);
      }
      row.write_lse(sum == 0 ? -kInfinity : most + std::log(sum));
    }
  }
}

}  // namespace raptly
