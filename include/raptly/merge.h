// The merge of partial attention results: attention over the keys of A and B from attention over A
// and attention over B. Splits of a long sequence, shared prefixes, rings of machines: one algebra
// (docs/attention_state.md).
#pragma once

#include <initializer_list>
#include <span>

#include "raptly/execution.h"
#include "raptly/tensor.h"

namespace raptly {

// What attention() gave for some of the keys.
struct AttentionState {
  TensorView out;  // [batch, q_len, n_heads, v_dim]   f32, f16, bf16 or f64; any strides
  TensorView lse;  // [batch, n_heads, q_len]          f32, natural log
};

// Per row, with M = max lse_i and w_i = e^(lse_i - M):
//
//   out = sum w_i out_i / sum w_i        lse = M + ln sum w_i
//
// States share shapes and a dtype; out is f32 or has that dtype, lse is f32 and optional. A state
// with lse -inf adds nothing and its out is not read (NaN there is harmless); a row with no other
// state gives out 0, lse -inf, as no state at all does. An lse of NaN or +inf makes its row NaN:
// flash-attn 2 writes +inf where a row sees nothing, write -inf instead. Associative and
// commutative up to rounding, about 2^-23 of the largest |out_i| and an ulp of lse a merge. The
// bits of a row depend on its own states in their order only, not on threads, levels, strides or
// other rows. f64 outs are merged in f64 (lse is f32 still). out may be the out of one state, lse
// the lse of one (the same view, not a part of it). Throws Error before anything is written:
// kInvalidArgument (shapes, overlaps), kTypeMismatch. Sources: FlashInfer, arXiv:2501.01005;
// Milakov & Gimelshein, arXiv:1805.02867.
void merge_states(std::span<const AttentionState> states, MutableTensorView out,
                  MutableTensorView lse = {}, ExecutionContext& context = default_context());
void merge_states(std::initializer_list<AttentionState> states, MutableTensorView out,
                  MutableTensorView lse = {}, ExecutionContext& context = default_context());

}  // namespace raptly
