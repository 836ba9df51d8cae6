#include "raptly/attention.h"

#include "attention/validate.h"
#include "raptly/plan.h"

namespace raptly {

void attention(TensorView q, TensorView k, TensorView v, MutableTensorView out,
               const AttentionOptions& options, MutableTensorView lse, ExecutionContext& context) {
  const PlanShape shape = check_tensors(q, k, v, out, lse);
  Plan(shape, options, context).run(q, k, v, out, lse);
}

}  // namespace raptly
