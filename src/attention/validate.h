// Every check of an attention call, before any work: what was given, what is allowed.
#pragma once

#include <span>

#include "attention/plan.h"
#include "raptly/attention.h"
#include "raptly/plan.h"

namespace raptly {

void check_plan(const AttentionShape& shape, std::span<const SequenceGeometry> sequences,
                const AttentionOptions& options);

// Bias and sinks of the options; part of check_plan.
void check_bias(const AttentionShape& shape, std::span<const SequenceGeometry> sequences,
                const AttentionOptions& options);
// That out and lse lie apart from a dense bias.
void check_bias_apart(const Bias& bias, const TensorView& out, const TensorView& lse);

// What check_plan cannot see: the batch and the dtypes of a PlanShape.
void check_plan_shape(const PlanShape& shape);

// Checks the tensors of attention() and gives what they have in common.
PlanShape check_tensors(const TensorView& q, const TensorView& k, const TensorView& v,
                        const TensorView& out, const TensorView& lse);

// given, as check_tensors found it, must be what was planned.
void check_planned(const PlanShape& given, const PlanShape& planned);

}  // namespace raptly
