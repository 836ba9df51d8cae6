// The schedule of FlashAttention-1 (Dao et al. 2022, algorithm 1) on our own GEMM and exp, as an
// ablation: benchmarks show beside it what FlashAttention-2 changed. Nothing else uses it.
//
// Key blocks are the outer loop and query blocks the inner one, so that out, m and l of every row
// are read, rescaled, divided by l and written back for every key block; work is split over batch x
// heads only. Our kernel keeps a query tile's state in cache over all keys, divides once at the
// end, rescales only when a maximum grew by 8, and also splits queries and keys.
#pragma once

#include <cstdint>

#include "base/aligned.h"
#include "raptly/execution.h"
#include "raptly/tensor.h"

namespace raptly {

class Flash1Attention {
 public:
  // f32 tensors of one shape: q [batch, q_len, n_heads, head_dim] and so on, dims contiguous.
  Flash1Attention(std::int64_t q_len, std::int64_t kv_len, std::int64_t head_dim,
                  ExecutionContext& context);
  // causal: bottom right.
  void run(const TensorView& q, const TensorView& k, const TensorView& v,
           const MutableTensorView& out, bool causal);

 private:
  struct Scratch;
  struct Head;
  Scratch scratch_of(int worker) const;
  void run_head(const Head& head, const Scratch& scratch, bool causal) const;
  void run_block(const Head& head, const Scratch& scratch, std::int64_t first_query,
                 std::int64_t first_key, bool causal) const;

  std::int64_t q_len_, kv_len_, head_dim_;
  std::int64_t key_width_, out_width_;  // of a key block and of head_dim, in whole panels
  ExecutionContext& context_;
  std::int64_t thread_floats_;
  AlignedArray<float> memory_;
};

}  // namespace raptly
