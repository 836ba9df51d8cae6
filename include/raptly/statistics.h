// What attention looked at, without the weights: entropy, largest score, the keys with the largest
// weights, and how much each key received. A second pass over q and k, from the lse of the first,
// in O(q_len * top_k + kv_len) memory.
#pragma once

#include <cstdint>
#include <span>

#include "raptly/attention.h"
#include "raptly/execution.h"
#include "raptly/tensor.h"

namespace raptly {

// The tensors that are given are computed; any strides, f32. With s the score of a pair (scale,
// softcap, mask) and p = e^(s - lse) its weight:
struct AttentionStatistics {
  MutableTensorView entropy;      // [batch, n_heads, q_len]: sum over keys of p (lse - s), natural
  MutableTensorView max;          // [batch, n_heads, q_len]: the largest s
  MutableTensorView column_mass;  // [batch, n_heads, kv_len]: sum over queries of p
  // The top_k largest weights of each row, descending, equal ones by key. Both dense.
  int top_k = 0;                        // 0 .. 4096
  std::span<std::int64_t> top_index{};  // [batch, n_heads, q_len, top_k]
  std::span<float> top_weight{};        // the same
};

// q    [batch, q_len, n_heads, head_dim]      as of attention()
// k    [batch, kv_len, n_kv_heads, head_dim]
// lse  [batch, n_heads, q_len]                as attention() gave it for the same options
// A row that sees no key: entropy 0, max -inf, top index -1 with weight 0 (so do places beyond the
// keys that a row sees). NaN in lse: entropy, max and weights NaN, index -1, mass of the keys that
// it sees NaN. p is within about |lse| * 2^-23 of its value: lse is f32. A pair that the mask
// counts twice is two pairs. Does not depend on threads, levels or batch, in bits. f64 q and k run
// textbook loops. Throws Error before anything is written. Uses: entropy and max for watching
// training, column mass for cache eviction (H2O, arXiv:2306.14048).
void attention_statistics(TensorView q, TensorView k, TensorView lse,
                          const AttentionStatistics& wanted, const AttentionOptions& options = {},
                          ExecutionContext& context = default_context());

}  // namespace raptly
