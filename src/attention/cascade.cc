#include "raptly/cascade.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "attention/plan.h"
#include "attention/row_copy.h"
#include "attention/tensor_checks.h"
#include "attention/validate.h"
#include "base/aligned.h"
#include "kernels/flash_forward/flash_forward.h"
#include "mask/rule.h"

namespace raptly {
namespace {

const TensorChecks kChecks("cascade_attention");

// The stride of one dimension of a tensor of the batch and of the prefix: where one of them does
// not step in it, the other's.
std::int64_t common_stride(const char* name, const TensorView& own, const TensorView& shared,
                           int dim) {
  const std::int64_t own_stride = own.stride(dim), shared_stride = shared.stride(dim - 1);
  const bool own_steps = own.size(dim) > 1 && own.shape().numel() > 0;
  const bool shared_steps = shared.size(dim - 1) > 1 && shared.shape().numel() > 0;
  if (own_steps && shared_steps && own_stride != shared_stride) {
    const char* const dims[] = {"batch", "token", "head", "dim"};
    kChecks.fail("the " + std::string(dims[dim]) + " stride of " + name + " is " +
                 std::to_string(own_stride) + ", that of prefix." + name + " is " +
                 std::to_string(shared_stride) +
                 ". They must be equal: lay both out as [..., n_kv_heads, dim].");
  }
  return own_steps ? own_stride : shared_stride;
}

void check_prefix(const char* name, const TensorView& shared, const TensorView& own,
                  const TensorView& out, const TensorView& lse) {
  const std::string full = std::string("prefix.") + name;
  kChecks.rank(full.c_str(), shared, "[prefix_len, n_kv_heads, dim]", 3);
  kChecks.equal("n_kv_heads of " + full, shared.size(1), std::string("n_kv_heads of ") + name,
                own.size(2));
  kChecks.equal("the last dimension of " + full, shared.size(2),
                std::string("that of ").append(name), own.size(3));
  if (shared.dtype() != own.dtype()) {
    kChecks.fail(full + " is " + dtype_name(shared.dtype()) + ", " + name + " is " +
                     dtype_name(own.dtype()) + ". They must be equal.",
                 ErrorCode::kTypeMismatch);
  }
  kChecks.memory(full.c_str(), shared);
  kChecks.apart("out", out, full, shared);
  kChecks.apart("lse", lse, full, shared);
}

// Whether every query of the plan sees the keys before `end`, once each.
bool sees_all_before(const TilePlan& plan, std::int64_t end) {
  return std::all_of(plan.tiles().begin(), plan.tiles().end(), [&](const QueryTile& tile) {
    return !tile.spans.empty() && tile.spans.front().bits == nullptr &&
           tile.spans.front().first_key == 0 && tile.spans.front().n_keys >= end;
  });
}

class Cascade {
 public:
  Cascade(const TensorView& q, const SharedPrefix& prefix, const TensorView& k, const TensorView& v,
          const MutableTensorView& out, const MutableTensorView& lse)
      : q_(q), prefix_(prefix), k_(k), v_(v), out_(out), lse_(lse) {
    for (int d = 1; d < 4; ++d) {
      k_strides_[d] = common_stride("k", k, prefix.k, d);
      v_strides_[d] = common_stride("v", v, prefix.v, d);
    }
  }

  // Throws what planning throws; computes nothing.
  void plan(const AttentionShape& shape, const AttentionOptions& options,
            ExecutionContext& context) {
    shape_ = shape;
    std::vector<SequenceGeometry> geometry(static_cast<std::size_t>(batch()),
                                           {q_len(), total_len(), total_len() - q_len()});
    check_plan(shape, geometry, options);
    choose(options);
    const std::int64_t rows = report_.stacked_rows;
    for (const std::int64_t b : stacked_) {
      geometry[static_cast<std::size_t>(b)].first_key = report_.shared_keys;
    }
    if (rows > 0) {
      AttentionOptions all = options;
      all.mask = Mask();
      const SequenceGeometry stack{rows, report_.shared_keys, report_.shared_keys - rows};
      plans_.emplace_back(shape, std::span(&stack, 1), all, context);
      q_row_ = {shape.n_heads, shape.head_dim, dtype_size(shape.q_dtype)};
      q_rows_ = AlignedBytes(static_cast<std::size_t>(rows) * q_row_.bytes());
      states_ = AlignedArray<float>(static_cast<std::size_t>(rows * shape.n_heads) *
                                    row_state_floats(shape.v_dim));
    }
    plans_.emplace_back(shape, geometry, options, context);
  }

  CascadeReport run() {
    if (!stacked_.empty()) run_stack();
    run_sequences();
    return report_;
  }

 private:
  std::int64_t batch() const { return q_.size(0); }
  std::int64_t q_len() const { return q_.size(1); }
  std::int64_t prefix_len() const { return prefix_.k.size(0); }
  std::int64_t total_len() const { return prefix_len() + k_.size(1); }

  // Which sequences are stacked, on how many keys.
  void choose(const AttentionOptions& options) {
    const std::int64_t whole = prefix_len() / kSplitKeys * kSplitKeys;
    const mask_detail::Rule* rule = options.mask.rule();
    if (whole == 0) {
      report_.reason = "the prefix has no whole split of " + std::to_string(kSplitKeys) + " keys";
    } else if (shape_.q_dtype == DType::kF64) {
      report_.reason = "f64 tensors take the textbook loops";
    } else if (options.bias.given()) {
      report_.reason = "a bias asks where each query stands";
    } else if (rule != nullptr && rule->max_copies() > 1) {
      report_.reason = "the mask counts keys more than once";
    } else {
      bool one_for_all = rule == nullptr || rule->batch() == 0, sees = false;
      for (std::int64_t b = 0; b < batch(); ++b) {
        if (b == 0 || !one_for_all) sees = all_heads_see(options.mask, b, whole);
        if (sees) stacked_.push_back(b);
      }
      if (stacked_.size() < static_cast<std::size_t>(batch())) {
        report_.reason = "not all queries see the whole prefix";
      }
    }
    if (stacked_.size() < 2) stacked_.clear();
    if (stacked_.empty()) return;
    report_.shared_keys = whole;
    report_.stacked_rows = static_cast<std::int64_t>(stacked_.size()) * q_len();
  }
  bool all_heads_see(const Mask& mask, std::int64_t b, std::int64_t whole) const {
    for (std::int64_t h = 0; h < shape_.n_heads; ++h) {
      if (h > 0 && (mask.rule() == nullptr || mask.rule()->same_heads(0, h))) continue;
      const TilePlan plan(mask, bottom_right_scope(q_len(), total_len(), b, h), kMaxTileQueries);
      if (!sees_all_before(plan, whole)) return false;
    }
    return q_len() > 0;
  }

  KvView view(std::span<const KvRun> runs, std::int64_t length) const {
    return {runs,          shape_.kv_dtype, k_strides_[1], k_strides_[2], k_strides_[3],
            v_strides_[1], v_strides_[2],   v_strides_[3], length};
  }
  RowStates states_from(std::int64_t row) const {
    const auto width = static_cast<std::int64_t>(row_state_floats(shape_.v_dim));
    return {states_.data() + row * shape_.n_heads * width, shape_.n_heads * width, width};
  }

  void run_stack() {
    std::int64_t row = 0;
    for (const std::int64_t b : stacked_) {
      for (std::int64_t i = 0; i < q_len(); ++i, ++row) {
        copy_row(q_row_, RowsAt::of_entry(q_.data(), q_, b), i,
                 RowsAt::dense(q_rows_.data(), q_row_), row);
      }
    }
    KvRun run;
    run.k = prefix_.k.data();
    run.v = prefix_.v.data();
    run.n = report_.shared_keys;
    SequenceTensors stack;
    stack.q = q_rows_.data();
    stack.final_states = states_from(0);
    stack.kv = view({&run, 1}, report_.shared_keys);
    RowStrides strides;
    strides.q_token = shape_.n_heads * shape_.head_dim;
    strides.q_head = shape_.head_dim;
    plans_.front().run({&stack, 1}, strides);
  }

  void run_sequences() {
    const auto n = static_cast<std::size_t>(batch());
    std::vector<KvRun> runs(2 * n);
    std::vector<SequenceTensors> tensors(n);
    for (std::size_t i = 0; i < n; ++i) {
      const auto b = static_cast<std::int64_t>(i);
      KvRun* mine = &runs[2 * i];
      std::size_t n_runs = 0;
      if (prefix_len() > 0) {
        KvRun& shared = mine[n_runs++];
        shared.k = prefix_.k.data();
        shared.v = prefix_.v.data();
        shared.n = prefix_len();
      }
      if (k_.size(1) > 0) {
        KvRun& own = mine[n_runs++];
        own.k = RowsAt::of_entry(k_.data(), k_, b).at;
        own.v = RowsAt::of_entry(v_.data(), v_, b).at;
        own.n = k_.size(1);
        own.first_ordinal = prefix_len();
      }
      SequenceTensors& t = tensors[i];
      t.q = RowsAt::of_entry(q_.data(), q_, b).at;
      t.out = RowsAt::of_entry(out_.data(), out_, b).at;
      if (lse_.given() && lse_.data() != nullptr) t.lse = lse_.as<float>() + b * lse_.stride(0);
      t.kv = view({mine, n_runs}, total_len());
    }
    for (std::size_t i = 0; i < stacked_.size(); ++i) {
      tensors[static_cast<std::size_t>(stacked_[i])].initial_states =
          states_from(static_cast<std::int64_t>(i) * q_len());
    }
    RowStrides strides{q_.stride(1),
                       q_.stride(2),
                       q_.stride(3),
                       out_.stride(1),
                       out_.stride(2),
                       out_.stride(3),
                       0,
                       1};
    if (lse_.given()) {
      strides.lse_head = lse_.stride(1);
      strides.lse_token = lse_.stride(2);
    }
    plans_.back().run(tensors, strides);
  }

  const TensorView& q_;
  const SharedPrefix& prefix_;
  const TensorView &k_, &v_;
  const MutableTensorView &out_, &lse_;
  std::int64_t k_strides_[4] = {}, v_strides_[4] = {};
  AttentionShape shape_;
  CascadeReport report_;
  std::vector<std::int64_t> stacked_;  // batch entries
  std::vector<AttentionPlan> plans_;   // the stack, where there is one, then the sequences
  RowShape q_row_;
  AlignedBytes q_rows_;
  AlignedArray<float> states_;
};

}  // namespace

CascadeReport cascade_attention(TensorView q, const CascadeKeys& keys, MutableTensorView out,
                                const AttentionOptions& options, MutableTensorView lse,
                                ExecutionContext& context) {
  const auto& [prefix, k, v] = keys;
  const PlanShape s = check_tensors(q, k, v, out, lse);
  check_bias_apart(options.bias, out, lse);
  check_prefix("k", prefix.k, k, out, lse);
  check_prefix("v", prefix.v, v, out, lse);
  kChecks.equal("prefix_len of prefix.v", prefix.v.size(0), "prefix_len of prefix.k",
                prefix.k.size(0));
  Cascade cascade(q, prefix, k, v, out, lse);
  cascade.plan({s.n_heads, s.n_kv_heads, s.head_dim, s.v_dim, s.q_dtype, s.kv_dtype, s.out_dtype},
               options, context);
  return cascade.run();
}

}  // namespace raptly
