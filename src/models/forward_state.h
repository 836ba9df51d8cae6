// What a forward pass holds beside the weights: the batch, resolved against the cache, and buffers
// that are made once and reused.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "attention/plan.h"
#include "base/aligned.h"
#include "base/thread_pool.h"
#include "models/linear.h"
#include "raptly/cache.h"
#include "raptly/model.h"

namespace raptly {

// One sequence of the batch: its rows of the batch and where they go in the cache.
struct BatchSequence {
  SequenceId id = 0;
  std::int64_t first_row = 0;
  std::int64_t n_rows = 0;
  std::int64_t first_ordinal = 0;  // tokens already in the cache
};

// Widths that size the buffers.
struct ForwardWidths {
  std::int64_t d_model = 0;
  std::int64_t widest_input = 0;   // of any linear layer
  std::int64_t widest_output = 0;  // of any linear layer but the head
  std::int64_t rotary_pairs = 0;
};

// Rows of one item of a row stage: few enough to stay in L1 between its steps.
constexpr std::int64_t kRowsPerItem = 8;

class ForwardState {
 public:
  explicit ForwardState(const ForwardWidths& widths) : widths_(widths) {}

  // Room for a batch of `rows` rows on this context. Throws kOutOfMemory; grows only.
  void reserve(std::int64_t n_rows, ExecutionContext& context);

  ThreadPool& pool() const { return context->pool(); }
  MatmulScratch& scratch(int worker) const { return scratch_[static_cast<std::size_t>(worker)]; }
  float* residual_row(std::int64_t r) const { return residual_.data() + r * widths_.d_model; }
  float* projected_row(std::int64_t r, std::int64_t width) const {
    return projected_.data() + r * width;
  }
  float* cos_row(std::int64_t r) const { return cos_.data() + r * widths_.rotary_pairs; }
  float* sin_row(std::int64_t r) const { return sin_.data() + r * widths_.rotary_pairs; }

  // body(begin, end) for blocks of rows, on all threads.
  template <class F>
  void for_rows(F&& body) const {
    const std::int64_t n = (rows + kRowsPerItem - 1) / kRowsPerItem;
    pool().parallel_for(n, [&](std::int64_t item, int) {
      const std::int64_t begin = item * kRowsPerItem;
      body(begin, begin + kRowsPerItem < rows ? begin + kRowsPerItem : rows);
    });
  }
  // y = input W^T + bias for all rows, threaded over panels of outputs.
  void run_linear(const Linear& linear, float* y, std::int64_t y_stride) const noexcept;

  ExecutionContext* context = nullptr;
  Isa isa = Isa::kScalar;
  std::int64_t rows = 0;
  LinearInput input;     // of the next linear layer
  bool pending = false;  // the last projection is still to be added to the residual stream
  KvCache* cache = nullptr;
  std::vector<BatchSequence> sequences;
  std::vector<std::int64_t> positions;   // [rows], of RoPE
  std::vector<SequenceTensors> tensors;  // of the attention call at hand
  Workspace attention_workspace;
  std::unique_ptr<AttentionPlan> attention;  // shared by all layers

 private:
  ForwardWidths widths_;
  AlignedArray<float> residual_;         // [rows, d_model]
  AlignedArray<float> projected_;        // [rows, width of the last linear layer]
  AlignedArray<float> cos_, sin_;        // [rows, rotary_pairs]
  AlignedArray<MatmulScratch> scratch_;  // one a thread
};

}  // namespace raptly
