// The plan of a ragged batch over key runs, as models and caches need it; raptly/plan.h has the one
// for tensors. Planning validates, chooses the kernel, sizes the workspace and balances the work
// once; run() allocates nothing, throws nothing and may be called for each layer of a model.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "kernels/flash_forward/flash_forward.h"
#include "raptly/attention.h"
#include "raptly/kv_view.h"
#include "raptly/plan.h"

namespace raptly {

// What all sequences of a call share.
struct AttentionShape {
  std::int64_t n_heads = 0;
  std::int64_t n_kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t v_dim = 0;
  DType q_dtype = DType::kF32;
  DType kv_dtype = DType::kF32;
  DType out_dtype = DType::kF32;
};

// One sequence of a ragged batch: its new queries against all its keys.
struct SequenceGeometry {
  std::int64_t q_len = 0;
  std::int64_t kv_len = 0;          // ordinals 0 .. kv_len-1, the new tokens included
  std::int64_t first_position = 0;  // position of query 0; usually kv_len - q_len
  // Keys before it, whole splits of which every query sees every key, have been attended to: their
  // states are SequenceTensors::initial_states. Not for f64.
  std::int64_t first_key = 0;
};

// Where the numbers of one sequence are at run time. Strides in elements, the same for all
// sequences.
struct SequenceTensors {
  const void* q = nullptr;  // [q_len, n_heads, head_dim]
  void* out = nullptr;      // [q_len, n_heads, v_dim]
  float* lse = nullptr;     // [n_heads, q_len] through lse strides; may be null
  KvView kv;
  RowStates initial_states;  // where first_key is not 0
  RowStates final_states;    // given: f32 states instead of out and lse
};
struct RowStrides {
  std::int64_t q_token = 0, q_head = 0, q_dim = 1;
  std::int64_t out_token = 0, out_head = 0, out_dim = 1;
  std::int64_t lse_head = 0, lse_token = 1;
};

class AttentionPlan {
 public:
  // Throws Error as attention() does. sequences may differ in q_len and kv_len; an empty span is
  // fine. Sequence i is batch entry i of the mask. Without a workspace the plan owns its own.
  AttentionPlan(const AttentionShape& shape, std::span<const SequenceGeometry> sequences,
                const AttentionOptions& options, ExecutionContext& context,
                Workspace* workspace = nullptr);
  ~AttentionPlan();
  AttentionPlan(AttentionPlan&&) noexcept;
  AttentionPlan& operator=(AttentionPlan&&) noexcept;

  // tensors[i] belongs to sequences[i]. Uses the context and workspace of the plan: one run at a
  // time.
  void run(std::span<const SequenceTensors> tensors, const RowStrides& strides) noexcept;
  const PlanReport& report() const;
  std::string explain() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace raptly
