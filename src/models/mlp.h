// The feed-forward half of a layer: x += W_down (silu(W_gate n) * W_up n), n = rms_norm(x).
#pragma once

#include <vector>

#include "models/forward_state.h"
#include "models/linear.h"

namespace raptly {

struct MlpLayer {
  std::vector<float> norm;  // [d_model]
  Linear gate_up;           // [2 d_ff, d_model]: gate, then up
  Linear down;              // [d_model, d_ff]
};

// The sum is added by the norm that follows.
void mlp(const MlpLayer& layer, double norm_eps, ForwardState& state) noexcept;

}  // namespace raptly
