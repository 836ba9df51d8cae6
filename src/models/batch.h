// Checks of a batch against the model and the cache, before anything is done.
#pragma once

#include <vector>

#include "models/forward_state.h"

namespace raptly {

// Throws kInvalidArgument (tokens, lengths, positions, logit_rows, a cache of another shape, or
// more tokens than it takes at once),
// kNotFound (a sequence that the cache has not), kContextFull (no room for the new tokens).
// Returns one entry a sequence; entries without rows are left out.
std::vector<BatchSequence> check_batch(const Batch& batch, const ModelConfig& config,
                                       const KvCache& cache, std::size_t n_logits);

}  // namespace raptly
