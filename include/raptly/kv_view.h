// What a kernel sees of any KV cache: a list of contiguous runs of keys and values.
//
// The ordinal of a key counts the keys of its sequence from 0; it is never a slot, a page or a RoPE
// position. A contiguous cache is one run, a rolling cache its sinks plus at most two, a paged
// cache one run a page. Runs ascend by first_ordinal and do not overlap; ordinals in no run are
// evicted keys, which nothing may see.
#pragma once

#include <cstdint>
#include <span>

#include "raptly/dtype.h"

namespace raptly {

struct KvRun {
  const void* k = nullptr;         // [n, n_kv_heads, head_dim] through the strides of the view
  const void* v = nullptr;         // [n, n_kv_heads, v_dim]
  const float* k_scale = nullptr;  // for quantised caches; null otherwise
  const float* v_scale = nullptr;
  std::int64_t n = 0;
  std::int64_t first_ordinal = 0;
};

struct KvView {
  std::span<const KvRun> runs;
  DType dtype = DType::kF32;
  std::int64_t k_token_stride = 0;  // elements from one key to the next of the same head
  std::int64_t k_head_stride = 0;
  std::int64_t k_dim_stride = 1;
  std::int64_t v_token_stride = 0;
  std::int64_t v_head_stride = 0;
  std::int64_t v_dim_stride = 1;
  std::int64_t length = 0;  // ordinals 0 .. length-1 exist (some may be evicted)
};

}  // namespace raptly
