// Every check of attention_backward(), before any work.
#pragma once

#include "raptly/backward.h"
#include "raptly/plan.h"

namespace raptly {

// Throws Error; gives what the tensors have in common.
PlanShape check_backward(const BackwardInputs& inputs, const AttentionGradients& gradients,
                         const AttentionOptions& options);

// What dbias must have: [n_heads] and so on, see raptly/backward.h. The bias is given.
TensorShape bias_gradient_shape(const Bias& bias);

}  // namespace raptly
