// The attention half of a layer: x += W_o attention(rope(W_q n), rope(W_k n), W_v n), n =
// rms_norm(x).
#pragma once

#include <vector>

#include "models/forward_state.h"
#include "models/linear.h"

namespace raptly {

struct AttentionLayer {
  std::vector<float> norm;  // [d_model]
  Linear qkv;               // [(n_heads + 2 n_kv_heads) * head_dim, d_model]
  Linear o;                 // [d_model, n_heads * head_dim]
};

struct AttentionSizes {
  std::int64_t n_heads = 0;
  std::int64_t n_kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t rotary_dim = 0;
  double norm_eps = 0;
};

// Up to the heads' outputs: the residual stream is normed and projected, keys and values of the
// batch go into the cache, and state.input holds [rows, n_heads * head_dim].
void attend(const AttentionLayer& layer, const AttentionSizes& sizes, std::int64_t layer_index,
            ForwardState& state) noexcept;

// The rest: x += W_o input, added by the norm that follows.
void project_heads(const AttentionLayer& layer, ForwardState& state) noexcept;

}  // namespace raptly
