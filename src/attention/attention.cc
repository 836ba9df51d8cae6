#include "raptly/attention.h"

#include "attention/global_projections.h"
#include "attention/validate.h"
#include "raptly/plan.h"

namespace raptly {

void attention(TensorView q, TensorView k, TensorView v, MutableTensorView out,
               const AttentionOptions& options, MutableTensorView lse, ExecutionContext& context) {
  if (options.q_global.given() || options.k_global.given() || options.v_global.given()) {
    return attention_with_global_projections({q, k, v, out, lse}, options, context);
  }
  const PlanShape shape = check_tensors(q, k, v, out, lse);
  if (gather_global_rows(shape, options)) {
    AttentionOptions gathered = options;
    gathered.q_global = q;
    gathered.k_global = k;
    gathered.v_global = v;
    return attention_with_global_projections({q, k, v, out, lse}, gathered, context);
  }
  Plan(shape, options, context).run(q, k, v, out, lse);
}

}  // namespace raptly
