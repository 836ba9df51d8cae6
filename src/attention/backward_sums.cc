#include "attention/backward_sums.h"

#include <algorithm>
#include <cmath>

#include "base/elements.h"

namespace raptly {

void write_sum(const MutableTensorView& t, std::int64_t at, double x, bool accumulate) {
  const double before = accumulate ? element(t.data(), t.dtype(), at) : 0;
  set_element(t.data(), t.dtype(), at, before + x);
}

BackwardBiasSums::BackwardBiasSums(const Bias& bias, const PlanShape& shape, std::int64_t n_ranges)
    : kind_(bias.terms()->kind), batch_(shape.batch), n_ranges_(n_ranges), n_heads_(shape.n_heads) {
  if (kind_ == BiasKind::kDistance) {
    slopes_.resize(static_cast<std::size_t>(batch_ * n_ranges_ * n_heads_));
  } else if (kind_ == BiasKind::kOffset) {
    constexpr double kMostFloats = 1 << 24;
    entries_ = 2 * bias.terms()->reach + 1;
    const double n = static_cast<double>(n_heads_) * static_cast<double>(entries_);
    shared_ = n * static_cast<double>(batch_ * n_ranges_) > kMostFloats;
    if (shared_) batch_ = n_ranges_ = 1;
    offsets_.resize(static_cast<std::size_t>(batch_ * n_ranges_ * n_heads_ * entries_));
  }
}

std::int64_t BackwardBiasSums::index(std::int64_t batch, std::int64_t range,
                                     std::int64_t head) const {
  return shared_ ? head : (batch * n_ranges_ + range) * n_heads_ + head;
}

BackwardSums BackwardBiasSums::of(std::int64_t batch, std::int64_t range, std::int64_t first_head) {
  const std::int64_t at = index(batch, range, first_head);
  BackwardSums sums;
  if (kind_ == BiasKind::kDistance) sums.slopes = slopes_.data() + at;
  if (kind_ == BiasKind::kOffset) sums.offsets = offsets_.data() + at * entries_;
  return sums;
}

void BackwardBiasSums::write_slopes(const MutableTensorView& dbias, bool of_batch,
                                    bool accumulate) const {
  const std::int64_t rows = of_batch ? batch_ : 1,
                     of_row = batch_ / std::max<std::int64_t>(1, rows);
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t h = 0; h < n_heads_; ++h) {
      double sum = 0;
      for (std::int64_t b = row * of_row; b < (row + 1) * of_row; ++b) {
        for (std::int64_t r = 0; r < n_ranges_; ++r) {
          sum += slopes_[static_cast<std::size_t>(index(b, r, h))];
        }
      }
      const std::int64_t head_at = h * dbias.stride(dbias.rank() - 1);
      write_sum(dbias, head_at + (of_batch ? row * dbias.stride(0) : 0), sum, accumulate);
    }
  }
}

void BackwardBiasSums::write_table(const bias_detail::Terms& terms, const MutableTensorView& dbias,
                                   bool accumulate) const {
  const bool buckets = terms.n_buckets > 0;
  const std::int64_t n = buckets ? terms.n_buckets : entries_;
  std::vector<double> table(static_cast<std::size_t>(n));
  for (std::int64_t h = 0; h < n_heads_; ++h) {
    table.assign(table.size(), 0);
    for (std::int64_t place = 0; place < entries_; ++place) {
      double sum = 0;
      for (std::int64_t b = 0; b < batch_; ++b) {
        for (std::int64_t r = 0; r < n_ranges_; ++r) {
          sum += static_cast<double>(
              offsets_[static_cast<std::size_t>(index(b, r, h) * entries_ + place)]);
        }
      }
      const std::int64_t entry = buckets ? terms.bucket_of[static_cast<std::size_t>(place)] : place;
      table[static_cast<std::size_t>(entry)] += sum;
    }
    for (std::int64_t i = 0; i < n; ++i) {
      const std::int64_t at = buckets ? i * dbias.stride(0) + h * dbias.stride(1)
                                      : h * dbias.stride(0) + i * dbias.stride(1);
      write_sum(dbias, at, table[static_cast<std::size_t>(i)], accumulate);
    }
  }
}

void BackwardBiasSums::write(const Bias& bias, const MutableTensorView& dbias,
                             bool accumulate) const {
  if (kind_ == BiasKind::kDistance) {
    write_slopes(dbias, bias.terms()->slopes.size() > 1, accumulate);
  } else if (kind_ == BiasKind::kOffset) {
    write_table(*bias.terms(), dbias, accumulate);
  }
}

double sink_gradient_of(float sink, std::span<const QueryStrip> strips, const StripTerms* terms,
                        int group, int head_of_set) {
  constexpr double kLog2E = 1.4426950408889634;
  double sum = 0;
  for (std::size_t s = 0; s < strips.size(); ++s) {
    for (int lane = 0; lane < strips[s].lanes; ++lane) {
      if ((strips[s].first_lane + lane) % group != head_of_set || terms[s].delta[lane] == 0) {
        continue;
      }
      const double weight =
          std::exp2(static_cast<double>(sink) * kLog2E - static_cast<double>(terms[s].m[lane]));
      sum -= weight * static_cast<double>(terms[s].delta[lane]);
    }
  }
  return sum;
}

}  // namespace raptly
