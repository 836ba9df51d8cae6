// Every check of an attention call, before any work: what was given, what is allowed.
#pragma once

#include <span>

#include "attention/plan.h"
#include "raptly/attention.h"

namespace raptly {

void check_plan(const AttentionShape& shape, std::span<const SequenceGeometry> sequences,
                const AttentionOptions& options);

// Checks the tensors of attention() and gives what they have in common.
AttentionShape check_tensors(const TensorView& q, const TensorView& k, const TensorView& v,
                             const TensorView& out, const TensorView& lse);

}  // namespace raptly
