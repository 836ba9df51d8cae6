// Standard attention: the scores of a head are materialised, [q_len, kv_len], then softmax, then
// times v; products run on packed GEMMs and all threads. The baseline of every benchmark: O(q_len *
// kv_len) memory, and causal rows still compute the whole product, as materialising libraries do.
#pragma once

#include <cstdint>

#include "base/aligned.h"
#include "mask/bias_terms.h"
#include "raptly/bias.h"
#include "raptly/execution.h"
#include "raptly/tensor.h"

namespace raptly {

struct StandardOptions {
  bool causal = false;  // bottom right
  Bias bias;            // fits the tensors
  TensorView sinks;     // [n_heads] f32, or none
};

class StandardAttention {
 public:
  // f32 tensors of one shape: q [batch, q_len, n_heads, head_dim] and so on, dims contiguous.
  StandardAttention(std::int64_t q_len, std::int64_t kv_len, std::int64_t head_dim,
                    ExecutionContext& context);
  void run(const TensorView& q, const TensorView& k, const TensorView& v,
           const MutableTensorView& out, const StandardOptions& options);
  void run(const TensorView& q, const TensorView& k, const TensorView& v,
           const MutableTensorView& out, bool causal) {
    run(q, k, v, out, StandardOptions{causal, {}, {}});
  }
  std::size_t nbytes() const {
    return 4 * (keys_.size() + values_.size() + scores_.size() + rows_.size());
  }

 private:
  struct Head {
    const float* q = nullptr;
    std::int64_t q_stride = 0;
    float* out = nullptr;
    std::int64_t out_stride = 0;
    std::int64_t index = 0;
    bool causal = false;
    const ScoreBias* bias = nullptr;
    float sink = 0;  // -inf: none
  };
  void run_head(const Head& head);
  void softmax(const Head& head, std::int64_t query, float* scores);

  std::int64_t q_len_, kv_len_, head_dim_, score_stride_, out_width_;
  ExecutionContext& context_;
  AlignedArray<float> keys_, values_;  // packed panels of one head
  AlignedArray<float> scores_;         // [q_len][kv_len rounded up to a panel]
  AlignedArray<float> rows_;           // per thread: scaled q, and out in whole panels
};

}  // namespace raptly
