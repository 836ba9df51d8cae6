// Standard attention: the scores of a head are materialised, [q_len, kv_len], then softmax, then
// times v; products run on packed GEMMs and all threads. The baseline of every benchmark: O(q_len *
// kv_len) memory, and causal rows still compute the whole product, as materialising libraries do.
#pragma once

#include <cstdint>

#include "base/aligned.h"
#include "raptly/execution.h"
#include "raptly/tensor.h"

namespace raptly {

class StandardAttention {
 public:
  // f32 tensors of one shape: q [batch, q_len, n_heads, head_dim] and so on, dims contiguous.
  StandardAttention(std::int64_t q_len, std::int64_t kv_len, std::int64_t head_dim,
                    ExecutionContext& context);
  // causal: bottom right.
  void run(const TensorView& q, const TensorView& k, const TensorView& v,
           const MutableTensorView& out, bool causal);
  std::size_t nbytes() const {
    return 4 * (keys_.size() + values_.size() + scores_.size() + rows_.size());
  }

 private:
  void run_head(const float* q, std::int64_t q_stride, float* out, std::int64_t out_stride,
                bool causal);

  std::int64_t q_len_, kv_len_, head_dim_, score_stride_, out_width_;
  ExecutionContext& context_;
  AlignedArray<float> keys_, values_;  // packed panels of one head
  AlignedArray<float> scores_;         // [q_len][kv_len rounded up to a panel]
  AlignedArray<float> rows_;           // per thread: scaled q, and out in whole panels
};

}  // namespace raptly
