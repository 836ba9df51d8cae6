// Attention over a KV cache: new tokens of many sequences are appended and attended to in one call.
#pragma once

#include <cstdint>
#include <span>

#include "raptly/attention.h"
#include "raptly/cache.h"
#include "raptly/execution.h"
#include "raptly/tensor.h"

namespace raptly {

// A ragged batch: lengths[i] rows of sequences[i], one sequence after the other.
struct CachedBatch {
  std::span<const SequenceId> sequences;      // none twice
  std::span<const std::int64_t> lengths;      // sum = total; 0 is fine
  std::int64_t layer = 0;                     // of the cache
  std::span<const std::int32_t> tokens = {};  // [total], as in KvCache::extend(); with layer 0
};

// AttentionOptions, but causal unless told otherwise. Sequence i is batch entry i of mask and bias.
struct CachedAttentionOptions : AttentionOptions {
  CachedAttentionOptions() { mask = mask::causal(); }
};

// q    [total, n_heads, head_dim]       f32, f16 or bf16; any strides
// k    [total, n_kv_heads, head_dim]    f32, f16 or bf16, stored in the dtype of the cache
// v    [total, n_kv_heads, v_dim]
// out  [total, n_heads, v_dim]          f32, or q's dtype
// lse  [n_heads, total]                 f32, natural log; optional
//
// Given k and v, those of layer 0 make room in the cache and are stored; those of another layer are
// stored for the tokens that layer 0 appended: call the layers in turn with the same sequences and
// lengths. Without k and v nothing is stored. The rows are the last of their sequence: query i of n
// stands at length - n + i, and sees keys up to itself unless the mask says otherwise.
//
// A rolling cache hides what it does not keep, whatever the mask says: a query sees window() keys
// back and the sinks, as if the mask were joined with that window by &. Masks that say where tokens
// stand (lengths, packed, positions) do not go with it.
//
// The bits of a row are those of attention() over all keys of its sequence in the cache's dtype:
// whatever the cache, page size, batch, threads, or chunks in which the tokens came.
// Throws Error before anything is stored or written: as attention() does, as KvCache::extend()
// (kContextFull, kNotFound), and kInvalidArgument where queries look back to evicted keys.
void attention_with_cache(TensorView q, TensorView k, TensorView v, MutableTensorView out,
                          KvCache& cache, const CachedBatch& batch,
                          const CachedAttentionOptions& options = {}, MutableTensorView lse = {},
                          ExecutionContext& context = default_context());

}  // namespace raptly
