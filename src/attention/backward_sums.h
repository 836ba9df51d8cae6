// Gradients that many rows and keys add to: of slopes, of tables of offsets, of sinks. Each range
// of keys has sums of its own, which are joined in order: the same bits for any number of threads.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/flash_backward/flash_backward.h"
#include "mask/bias_terms.h"
#include "raptly/plan.h"
#include "raptly/tensor.h"

namespace raptly {

class BackwardBiasSums {
 public:
  BackwardBiasSums() = default;
  // bias: whose gradient dbias is; dense ones need no sums.
  BackwardBiasSums(const Bias& bias, const PlanShape& shape, std::int64_t n_ranges);

  // Whether the sums depend on how keys are cut into ranges.
  bool wanted() const { return kind_ != BiasKind::kDense; }
  // Whether ranges share their sums, so that they must run one after another: sums of their own
  // would take too much memory.
  bool in_order() const { return shared_; }
  // Of heads from first_head on.
  BackwardSums of(std::int64_t batch, std::int64_t range, std::int64_t first_head);
  void write(const Bias& bias, const MutableTensorView& dbias, bool accumulate) const;

 private:
  std::int64_t index(std::int64_t batch, std::int64_t range, std::int64_t head) const;
  void write_slopes(const MutableTensorView& dbias, bool of_batch, bool accumulate) const;
  void write_table(const bias_detail::Terms& terms, const MutableTensorView& dbias,
                   bool accumulate) const;

  BiasKind kind_ = BiasKind::kDense;
  bool shared_ = false;
  std::int64_t batch_ = 0, n_ranges_ = 0, n_heads_ = 0, entries_ = 0;
  std::vector<double> slopes_;  // [batch][range][head]
  std::vector<float> offsets_;  // [batch][range][head][entries]
};

// -sum over rows of e^(sink - lse) delta, of one head; strips and their terms batch by batch.
double sink_gradient_of(float sink, std::span<const QueryStrip> strips, const StripTerms* terms,
                        int group, int head_of_set);

// x, or what the tensor holds plus x.
void write_sum(const MutableTensorView& t, std::int64_t at, double x, bool accumulate);

}  // namespace raptly
