// The gradients of attention(): of q, k, v, the bias and the sinks, in O(q_len + kv_len) memory.
// The weights are computed again from q, k and the lse that attention() gave; nothing else of the
// forward pass needs to be kept.
#pragma once

#include "raptly/attention.h"
#include "raptly/execution.h"
#include "raptly/tensor.h"

namespace raptly {

// All that attention() took and gave, and the gradients of what it gave. Any strides.
struct BackwardInputs {
  TensorView dout;  // [batch, q_len, n_heads, v_dim]         f32, or q's dtype
  TensorView q;     // [batch, q_len, n_heads, head_dim]
  TensorView k;     // [batch, kv_len, n_kv_heads, head_dim]
  TensorView v;     // [batch, kv_len, n_kv_heads, v_dim]
  TensorView out;   // [batch, q_len, n_heads, v_dim]         f32, or q's dtype
  TensorView lse;   // [batch, n_heads, q_len]                f32
  TensorView dlse;  // [batch, n_heads, q_len]                f32; not given: 0
};

// Those that are given are computed. Any strides, but every element has a place of its own.
struct AttentionGradients {
  MutableTensorView dq;  // shape of q; f32, or q's dtype (rounded once, from f32 sums)
  MutableTensorView dk;  // shape of k; f32, or k's dtype
  MutableTensorView dv;  // shape of v; f32, or v's dtype
  // Of what the bias was made from, f32:
  //   alibi     the slopes   [n_heads], or [batch, n_heads] where each batch entry has its own
  //   relative  the table    [n_heads, 2 * max - 1]
  //   t5        the table    [num_buckets, n_heads]
  //   dense     the tensor   its shape; an axis of size 1 gets the sum over all that it stands for
  MutableTensorView dbias;
  MutableTensorView dsinks;  // [n_heads] f32
  // Of q_global, k_global and v_global, like dq, dk and dv. Rows of queries that are not global: 0.
  MutableTensorView dq_global, dk_global, dv_global;
  bool accumulate = false;  // true: added to what the tensors hold, before the rounding
};

// With s = softcap(scale q k) + bias the score of a pair that the mask shows, p = e^(s - lse) its
// weight, and y = softcap(scale q k):
//   delta = sum over d of dout out - dlse          of a row
//   ds    = p (sum over d of dout v - delta)       of a pair
//   dv = sum over queries of p dout,  dbias = ds,  dsink = -sum over rows of e^(sink - lse) delta
//   dq = scale sum over keys of t ds k,  dk = scale sum over queries of t ds q
// where t = 1 - (y / softcap)^2, or 1 without a softcap. Sums over the query heads of a key head,
// and all other sums, are f32. A row that sees no key: its gradients are 0, and it adds nothing
// to those of keys (its lse is the sink, if there is one, which gets dlse). A key that no query
// sees: 0. NaN or inf in a key, value or query reaches only the gradients of pairs that the mask
// shows. A pair that the mask counts twice adds twice.
//
// options: those of attention(). lse: of the same call, or nothing fits. The same bits for any
// number of threads and on every level up to avx512; avx512_bf16 runs the f32 products of avx512.
// f64 tensors (q, k, v, dout, out and all gradients; dlse f32 or f64) run textbook loops, which
// compute out and lse anew: of those that are given they check shape and dtype. Gradients may not
// overlap each other or an input. Throws Error before anything is written: kInvalidArgument
// (shapes, options, a gradient of a bias, sinks or projections that are not there), kTypeMismatch
// (dtypes), kOutOfMemory. Source: Dao, FlashAttention-2, arXiv:2307.08691, algorithm 2.
void attention_backward(const BackwardInputs& inputs, const AttentionGradients& gradients,
                        const AttentionOptions& options = {},
                        ExecutionContext& context = default_context());

}  // namespace raptly
