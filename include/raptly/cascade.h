// A cascade: many sequences whose first keys are the same (a system prompt, a document asked many
// questions, samples of one prompt). The shared keys are read once for all of them.
#pragma once

#include <cstdint>
#include <string>

#include "raptly/attention.h"
#include "raptly/execution.h"
#include "raptly/tensor.h"

namespace raptly {

struct SharedPrefix {
  TensorView k;  // [prefix_len, n_kv_heads, head_dim]   of the dtype of the sequences' own keys
  TensorView v;  // [prefix_len, n_kv_heads, v_dim]
};

// The keys of entry b: the prefix, then k[b], v[b].
struct CascadeKeys {
  SharedPrefix prefix;
  TensorView k;  // [batch, kv_len, n_kv_heads, head_dim]   kv_len may be 0
  TensorView v;  // [batch, kv_len, n_kv_heads, v_dim]
};

// What was shared; results do not depend on it.
struct CascadeReport {
  std::int64_t shared_keys = 0;   // keys of the prefix that were read once: whole splits of 1024
  std::int64_t stacked_rows = 0;  // queries that were stacked on them
  std::string reason;             // why not more
};

// attention() of a batch over such keys: q [batch, q_len, n_heads, head_dim], out [batch, q_len,
// n_heads, v_dim], lse [batch, n_heads, q_len], optional.
// The mask counts all prefix_len + kv_len keys, and query i stands at prefix_len + kv_len - q_len +
// i. The result has the bits of attention() over the keys put together: the rows of all sequences
// are stacked on the whole splits (1024 keys) of the prefix, whose f32 states then go on into each
// sequence's own splits. A sequence is stacked where its queries see every key of those splits and
// there is no bias; the others are attended to alone, with the same bits.
// Tokens, heads and dims of the prefix and of k (and of v) have the same strides.
// Throws Error as attention() does, before anything is written.
CascadeReport cascade_attention(TensorView q, const CascadeKeys& keys, MutableTensorView out,
                                const AttentionOptions& options = {}, MutableTensorView lse = {},
                                ExecutionContext& context = default_context());

}  // namespace raptly
