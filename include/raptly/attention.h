// Scaled dot-product attention: out = softmax(softcap(scale * q k^T) + bias + mask) v, in O(q_len)
// extra memory.
#pragma once

#include <cstdint>
#include <optional>

#include "raptly/bias.h"
#include "raptly/execution.h"
#include "raptly/mask.h"
#include "raptly/tensor.h"

namespace raptly {

struct AttentionOptions {
  Mask mask;                   // default: every query sees every key
  std::optional<float> scale;  // default 1 / sqrt(head_dim of q); -1e30 to 1e30
  std::optional<float>
      softcap;       // s -> softcap * tanh(s / softcap), before bias, mask; 1e-30 .. 1e30
  Bias bias;         // ALiBi, relative positions, or any numbers; default: none
  TensorView sinks;  // [n_heads] f32, natural log: e^sink joins the sum; -inf: none

  // Longformer's second projections, all three or none, in the shapes and dtypes of q, k and v:
  // queries of global tokens (by the rules longformer and global_tokens of the mask) attend with
  // q_global to k_global and v_global, all others, to global keys too, with q, k and v. Other rows
  // of q_global are not read. Only attention() takes them, not a plan; with a dense bias only where
  // that has one row for all queries.
  TensorView q_global, k_global, v_global;
};

// q    [batch, q_len, n_heads, head_dim]       f32, f16 or bf16; any strides
// k    [batch, kv_len, n_kv_heads, head_dim]   the dtype of v; 16-bit storage is widened exactly
// v    [batch, kv_len, n_kv_heads, v_dim]
// out  [batch, q_len, n_heads, v_dim]          f32, or q's dtype (rounded once)
// lse  [batch, n_heads, q_len]                 f32, natural log; optional
// n_heads is a multiple of n_kv_heads: query head h reads key head h / (n_heads / n_kv_heads).
// head_dim and v_dim are 1 .. 1024. batch, q_len and kv_len may be 0. A row that sees no key gives
// out 0, lse -inf; with a sink lse is the sink. The bits of a row depend on nothing but its own
// query, keys and values: not on batch, other rows, threads, layout, or which kernel computed it
// (docs/numerics.md). bf16 q, k and v at the level avx512_bf16: scores from bf16 products and p
// rounded to bf16. f64 tensors (all of them) run the reference path. out may not overlap q, k, v or
// a dense bias. Throws Error before anything is written: kInvalidArgument (shapes, options),
// kTypeMismatch (dtypes). Source: Dao, FlashAttention-2, arXiv:2307.08691; Milakov & Gimelshein,
// arXiv:1805.02867.
void attention(TensorView q, TensorView k, TensorView v, MutableTensorView out,
               const AttentionOptions& options = {}, MutableTensorView lse = {},
               ExecutionContext& context = default_context());

}  // namespace raptly
