// plan / run: a Plan checks, chooses the kernel, sizes the memory and cuts the work once; run()
// then computes, for each layer or step, and allocates nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "raptly/attention.h"
#include "raptly/dtype.h"
#include "raptly/execution.h"
#include "raptly/tensor.h"

namespace raptly {

// The sizes and dtypes of the tensors of attention().
struct PlanShape {
  std::int64_t batch = 1;
  std::int64_t q_len = 0;
  std::int64_t kv_len = 0;
  std::int64_t n_heads = 0;
  std::int64_t n_kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t v_dim = 0;  // 0: head_dim
  DType q_dtype = DType::kF32;
  DType kv_dtype = DType::kF32;
  DType out_dtype = DType::kF32;
};

// What was planned, as numbers.
struct PlanReport {
  std::string kernel;         // "prefill f32 avx512", "decode bf16 avx512_bf16"
  std::string reason;         // why this one and not the other
  std::int64_t n_items = 0;   // units of work given to the threads
  std::int64_t n_splits = 0;  // 1024-key splits per item, at most
  int threads = 0;
  std::int64_t tiles_full = 0, tiles_partial = 0, tiles_empty = 0;
  double visible_pairs = 0;  // (query, key) pairs over all heads
  double flops = 0;          // 2 * visible_pairs * (head_dim + v_dim)
  double bytes = 0;          // q, k, v read once, out written once
  std::size_t workspace_bytes = 0;
};

// Scratch memory of run(), O(threads * tile). Plans may share one, one run at a time: it only
// grows, so that a plan made for each generated token allocates nothing large.
class Workspace {
 public:
  Workspace();
  // The caller's own memory, of any alignment: never freed, never grown; a plan that needs more
  // throws kInvalidArgument and says how much.
  explicit Workspace(std::span<std::byte> memory);
  ~Workspace();
  Workspace(Workspace&&) noexcept;
  Workspace& operator=(Workspace&&) noexcept;

  // n_bytes of memory, 64-byte aligned; what an earlier call gave is no longer valid. Throws
  // kOutOfMemory, or kInvalidArgument where the memory is the caller's and too small.
  std::byte* at_least(std::size_t n_bytes);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

class Plan {
 public:
  // Throws Error as attention() does. The context, the workspace and the memory that options view
  // must outlive the plan; the sinks are copied, other sinks need a plan of their own. Without a
  // workspace the plan owns one.
  explicit Plan(const PlanShape& shape, const AttentionOptions& options = {},
                ExecutionContext& context = default_context(), Workspace* workspace = nullptr);
  ~Plan();
  Plan(Plan&&) noexcept;
  Plan& operator=(Plan&&) noexcept;

  // attention() on tensors of the plan's sizes and dtypes, through any strides. Throws Error for
  // other tensors, before anything is written; beyond that it throws and allocates nothing. One run
  // of a plan at a time.
  void run(TensorView q, TensorView k, TensorView v, MutableTensorView out,
           MutableTensorView lse = {});
  const PlanReport& report() const;
  // For people: the kernel and why the other was not taken, tiles skipped, FLOPs, bytes, workspace.
  std::string explain() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace raptly
