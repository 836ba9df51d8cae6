// Attention with Longformer's second projections (AttentionOptions::q_global): the rows of global
// tokens run as a small ragged batch of their own, the others as usual.
// Source: Beltagy et al., Longformer, arXiv:2004.05150, section 3.1.
#pragma once

#include "raptly/attention.h"
#include "raptly/plan.h"

namespace raptly {

struct AttentionTensors {
  TensorView q, k, v;
  MutableTensorView out, lse;  // lse is optional
};

// As attention(), whose options hold some of the three tensors. Each row has the bits that
// attention() gives it over the tensors it takes. Memory: O(global rows * dims) beside that of
// attention().
void attention_with_global_projections(const AttentionTensors& tensors,
                                       const AttentionOptions& options, ExecutionContext& context);

// Part of it: throws unless the three tensors, of which some are given, fit the others and the
// mask.
void check_global_projections(const TensorView& q, const TensorView& k, const TensorView& v,
                              const TensorView& out, const AttentionOptions& options,
                              const TensorView& lse);

// Whether a call without second projections gains by running as if q, k and v were them: a row of a
// global token left in place costs its tile of 48 to 64 queries against all keys. The bits are the
// same. shape: of checked tensors.
bool gather_global_rows(const PlanShape& shape, const AttentionOptions& options);

}  // namespace raptly
