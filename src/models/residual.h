// The residual stream between the halves of a layer.
#pragma once

#include <span>
#include <vector>

#include "models/forward_state.h"

namespace raptly {

// state.input = rms_norm(x), where x is the residual stream of each row after adding what the last
// linear layer projected (state.pending says whether there is something to add).
void norm_residual(const std::vector<float>& weight, double eps, bool int16,
                   ForwardState& state) noexcept;

// Goes on with these rows only (ascending): residual stream, pending projection and input.
void keep_rows(std::span<const std::int64_t> kept, ForwardState& state) noexcept;

}  // namespace raptly
