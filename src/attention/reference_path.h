// attention() for f64 tensors: textbook loops that ask the mask pair by pair, never by tiles. The
// oracle of the tests, and the path of gradient checks.
#pragma once

#include "raptly/attention.h"

namespace raptly {

// As attention(), after its checks; all tensors f64 (lse f32). O(kv_len) memory a thread.
void reference_attention(const TensorView& q, const TensorView& k, const TensorView& v,
                         const MutableTensorView& out, const AttentionOptions& options,
                         const MutableTensorView& lse, ExecutionContext& context);

}  // namespace raptly
