// The named cases of `raptly bench attention`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "raptly/dtype.h"

namespace raptly {

struct BenchCase {
  std::string name;
  std::int64_t batch = 1, q_len = 1, kv_len = 1, n_heads = 16, n_kv_heads = 16, head_dim = 64;
  DType kv_dtype = DType::kF32;
  std::string mask = "all";
  bool head_major = false;  // [batch, heads, seq, dim]
  DType q_dtype = DType::kF32;
  bool flash1 = false;  // run the schedule of FlashAttention-1 beside it
  std::string bias =
      "";  // "alibi", "relative" (128 offsets each way), "dense" (f32, for all heads)
  bool backward = false;  // attention_backward(), out, dout and gradients in the dtypes of q and k
  std::int64_t page_size = 0;  // above 0: keys in a paged cache, token-major queries

  // Few rows and many keys: reading the keys may take longer than computing with them.
  bool decode() const { return q_len * (n_heads / n_kv_heads) <= 16 && kv_len >= 4096; }
};

std::vector<BenchCase> all_bench_cases();

}  // namespace raptly
