// Attention with Longformer's second projections (AttentionOptions::q_global): the rows of global
// tokens run as a small ragged batch of their own, the others as usual.
// Source: Beltagy et al., Longformer, arXiv:2004.05150, section 3.1.
#pragma once

#include "raptly/attention.h"

namespace raptly {

// As attention(), whose options hold some of the three tensors. Each row has the bits that
// attention() gives it over the tensors it takes. Memory: O(global rows * dims) beside that of
// attention().
void attention_with_global_projections(const TensorView& q, const TensorView& k,
                                       const TensorView& v, const MutableTensorView& out,
                                       const AttentionOptions& options,
                                       const MutableTensorView& lse, ExecutionContext& context);

}  // namespace raptly
