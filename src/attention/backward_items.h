// The tensors of attention_backward() as the kernels' items.
#pragma once

#include <vector>

#include "attention/plan_bias.h"
#include "kernels/flash_backward/backward_item.h"
#include "raptly/backward.h"
#include "raptly/plan.h"

namespace raptly {

class BackwardItems {
 public:
  // Checked arguments, which must outlive it. Heads come `lanes` at a time.
  BackwardItems(const BackwardInputs& inputs, const AttentionGradients& gradients,
                const AttentionOptions& options, const PlanShape& shape, int lanes);

  // Heads [first_head, first_head + lanes) of batch entry b.
  FlashBackwardItem item(std::int64_t b, std::int64_t first_head) const;

 private:
  BiasGradient bias_gradient(std::int64_t b) const;

  const BackwardInputs& in_;
  const AttentionGradients& gradients_;
  const AttentionOptions& options_;
  PlanShape shape_;
  int lanes_;
  double scale_;
  AttentionBias bias_;
  std::vector<KvRun> runs_;
  std::vector<KvView> views_;
};

// Writes 0 to every element; a tensor that is not given is left alone.
void fill_zero(const MutableTensorView& t);

}  // namespace raptly
