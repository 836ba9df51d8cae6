#include "raptly/backward.h"

#include <functional>

#include "attention/backward_items.h"
#include "attention/backward_pass.h"
#include "attention/validate_backward.h"
#include "kernels/flash_backward/reference.h"
#include "mask/predicate.h"

namespace raptly {
namespace {

// Head by head, in order: heads of a key head add to the same rows.
void run_reference(const BackwardInputs& in, const AttentionGradients& gradients,
                   const AttentionOptions& options, const PlanShape& shape) {
  const BackwardItems items(in, gradients, options, shape, 1);
  for (std::int64_t b = 0; b < shape.batch; ++b) {
    for (std::int64_t h = 0; h < shape.n_heads; ++h) {
      const MaskPredicate sees(options.mask, bottom_right_scope(shape.q_len, shape.kv_len, b, h));
      flash_backward_reference(items.item(b, h), shape.q_len, std::ref(sees));
    }
  }
}

}  // namespace

void attention_backward(const BackwardInputs& inputs, const AttentionGradients& gradients,
                        const AttentionOptions& options, ExecutionContext& context) {
  const PlanShape shape = check_backward(inputs, gradients, options);
  const bool is_reference = shape.q_dtype == DType::kF64;
  if (!gradients.accumulate) {
    fill_zero(gradients.dbias);
    fill_zero(gradients.dsinks);
    for (const MutableTensorView* t : {&gradients.dq, &gradients.dk, &gradients.dv}) {
      if (is_reference) fill_zero(*t);
    }
  }
  if (is_reference) return run_reference(inputs, gradients, options, shape);
  run_backward(inputs, gradients, options, shape, context);
}

}  // namespace raptly
