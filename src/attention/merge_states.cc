#include <algorithm>
#include <string>
#include <vector>

#include "attention/tensor_checks.h"
#include "base/aligned.h"
#include "base/thread_pool.h"
#include "kernels/merge_states/merge_states.h"
#include "kernels/merge_states/reference.h"
#include "raptly/merge.h"

namespace raptly {
namespace {

const TensorChecks kChecks("merge_states");

void check_lse(const std::string& name, const TensorView& lse, const TensorView& out) {
  kChecks.rank(name.c_str(), lse, "[batch, n_heads, q_len]", 3);
  kChecks.equal(std::string("batch of ").append(name), lse.size(0), "batch of out", out.size(0));
  kChecks.equal(std::string("n_heads of ").append(name), lse.size(1), "n_heads of out",
                out.size(2));
  kChecks.equal(std::string("q_len of ").append(name), lse.size(2), "q_len of out", out.size(1));
  if (lse.dtype() != DType::kF32) {
    kChecks.fail(name + " is " + dtype_name(lse.dtype()) + ". It must be f32.",
                 ErrorCode::kTypeMismatch);
  }
  kChecks.memory(name.c_str(), lse);
}

void check_state(const AttentionState& state, const std::string& index, const TensorView& out,
                 DType dtype) {
  const std::string name = std::string("states[").append(index).append("].");
  const std::string out_name = name + "out";
  kChecks.rank(out_name.c_str(), state.out, "[batch, q_len, n_heads, v_dim]", 4);
  const char* const dims[] = {"batch", "q_len", "n_heads", "v_dim"};
  for (int d = 0; d < 4; ++d) {
    const std::string dim = dims[d];
    kChecks.equal(dim + " of " + out_name, state.out.size(d), dim + " of out", out.size(d));
  }
  if (state.out.dtype() != dtype) {
    kChecks.fail(out_name + " is " + dtype_name(state.out.dtype()) + ", states[0].out is " +
                     dtype_name(dtype) + ". States must have the same dtype.",
                 ErrorCode::kTypeMismatch);
  }
  kChecks.memory(out_name.c_str(), state.out);
  check_lse(name + "lse", state.lse, out);
}

void check_dtypes(DType in, DType out) {
  if (out == in || (out == DType::kF32 && in != DType::kF64)) return;
  kChecks.fail(std::string("out is ") + dtype_name(out) + ", the states are " + dtype_name(in) +
                   ". out must have their dtype, or be f32 (but not of f64).",
               ErrorCode::kTypeMismatch);
}

void check(std::span<const AttentionState> states, const TensorView& out, const TensorView& lse) {
  kChecks.rank("out", out, "[batch, q_len, n_heads, v_dim]", 4);
  kChecks.memory("out", out);
  kChecks.own_places("out", out);
  if (!states.empty()) check_dtypes(states[0].out.dtype(), out.dtype());
  for (std::size_t i = 0; i < states.size(); ++i) {
    check_state(states[i], std::to_string(i), out, states[0].out.dtype());
  }
  if (lse.given()) {
    check_lse("lse", lse, out);
    kChecks.own_places("lse", lse);
    kChecks.apart("out", out, "lse", lse);
  }
  for (std::size_t i = 0; i < states.size(); ++i) {
    const std::string name = std::string("states[").append(std::to_string(i)).append("].");
    const AttentionState& s = states[i];
    if (!same_view(out, s.out)) kChecks.apart("out", out, name + "out", s.out);
    kChecks.apart("out", out, name + "lse", s.lse);
    if (!lse.given()) continue;
    if (!same_view(lse, s.lse)) kChecks.apart("lse", lse, name + "lse", s.lse);
    kChecks.apart("lse", lse, name + "out", s.out);
  }
}

template <class T>
T* entry(T* data, const TensorView& t, std::int64_t batch) {
  if (data == nullptr) return nullptr;
  using Byte = std::conditional_t<std::is_const_v<T>, const std::byte, std::byte>;
  return static_cast<Byte*>(data) +
         batch * t.stride(0) * static_cast<std::int64_t>(dtype_size(t.dtype()));
}

MergeStrides out_strides(const TensorView& t) { return {t.stride(1), t.stride(2), t.stride(3)}; }
MergeStrides lse_strides(const TensorView& t) { return {t.stride(2), t.stride(1), 1}; }

struct Entry {
  std::vector<MergeSource> sources;
  MergeItem item;
};

Entry make_entry(std::span<const AttentionState> states, const MutableTensorView& out,
                 const MutableTensorView& lse, std::int64_t batch) {
  Entry e;
  for (const AttentionState& s : states) {
    e.sources.push_back({entry(s.out.data(), s.out, batch),
                         static_cast<const float*>(entry(s.lse.data(), s.lse, batch)),
                         out_strides(s.out), lse_strides(s.lse)});
  }
  e.item.dtype = states.empty() ? out.dtype() : states[0].out.dtype();
  e.item.out = entry(out.data(), out, batch);
  e.item.out_dtype = out.dtype();
  e.item.out_strides = out_strides(out);
  if (lse.given()) {
    e.item.lse = static_cast<float*>(entry(lse.data(), lse, batch));
    e.item.lse_strides = lse_strides(lse);
  }
  e.item.n_heads = out.size(2);
  e.item.v_dim = out.size(3);
  return e;
}

}  // namespace

void merge_states(std::span<const AttentionState> states, MutableTensorView out,
                  MutableTensorView lse, ExecutionContext& context) {
  check(states, out, lse);
  const std::int64_t batch = out.size(0), q_len = out.size(1);
  if (out.shape().numel() == 0 && !(lse.given() && lse.shape().numel() > 0)) return;
  std::vector<Entry> entries;
  for (std::int64_t b = 0; b < batch; ++b) entries.push_back(make_entry(states, out, lse, b));
  // Some 64 KiB of out an item: small enough to share, large enough that taking it costs nothing.
  const std::int64_t row = std::max<std::int64_t>(1, out.size(2) * out.size(3));
  const std::int64_t rows = std::max<std::int64_t>(16, (16384 / row + 15) / 16 * 16);
  const std::int64_t items_per_entry = (q_len + rows - 1) / rows;
  const std::size_t scratch = merge_states_workspace_floats(states.size(), out.size(2));
  AlignedArray<float> workspace(scratch * static_cast<std::size_t>(context.threads()));
  context.pool().parallel_for(batch * items_per_entry, [&](std::int64_t i, int worker) {
    const Entry& e = entries[static_cast<std::size_t>(i / items_per_entry)];
    MergeItem item = e.item;
    item.states = e.sources;
    item.query_begin = i % items_per_entry * rows;
    item.query_end = std::min(item.query_begin + rows, q_len);
    if (item.out_dtype == DType::kF64) return merge_states_reference(item);
    merge_state_rows(item, workspace.data() + scratch * static_cast<std::size_t>(worker),
                     context.isa());
  });
}

void merge_states(std::initializer_list<AttentionState> states, MutableTensorView out,
                  MutableTensorView lse, ExecutionContext& context) {
  merge_states(std::span(states.begin(), states.size()), out, lse, context);
}

}  // namespace raptly
