// The backward pass of a batch on the kernels: who takes which keys, and whose turn it is.
#pragma once

#include "raptly/backward.h"
#include "raptly/plan.h"

namespace raptly {

// Checked arguments of f32, f16 and bf16.
void run_backward(const BackwardInputs& inputs, const AttentionGradients& gradients,
                  const AttentionOptions& options, const PlanShape& shape,
                  ExecutionContext& context);

}  // namespace raptly
