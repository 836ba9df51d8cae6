#include "attention/global_projections.h"

#include <algorithm>
#include <string>
#include <vector>

#include "attention/plan.h"
#include "attention/row_copy.h"
#include "attention/tensor_checks.h"
#include "attention/validate.h"
#include "mask/bias_terms.h"
#include "mask/row_rules.h"
#include "mask/rule.h"

namespace raptly {
namespace {

const TensorChecks kChecks("attention");

struct Projection {
  const char* name;
  const TensorView* tensor;
  const char* like_name;
  const TensorView* like;
};

void check_like(const Projection& p) {
  kChecks.same_shape(p.name, *p.tensor, p.like_name, p.like->shape());
  if (p.tensor->dtype() != p.like->dtype()) {
    kChecks.fail(std::string(p.name) + " is " + dtype_name(p.tensor->dtype()) + ", " + p.like_name +
                     " is " + dtype_name(p.like->dtype()) + ". They must be equal.",
                 ErrorCode::kTypeMismatch);
  }
  kChecks.memory(p.name, *p.tensor);
}

void check_projections(std::span<const Projection> projections, const Mask& mask,
                       const TensorView& out, const TensorView& lse) {
  const Projection *given = nullptr, *missing = nullptr;
  for (const Projection& p : projections) (p.tensor->given() ? given : missing) = &p;
  if (given == nullptr) return;
  if (missing != nullptr) {
    kChecks.fail(std::string(given->name) + " is given, " + missing->name +
                 " is not. Give q_global, k_global and v_global or none of them.");
  }
  for (const Projection& p : projections) {
    check_like(p);
    kChecks.apart("out", out, p.name, *p.tensor);
    kChecks.apart("lse", lse, p.name, *p.tensor);
  }
  if (!has_global_tokens(mask)) {
    kChecks.fail(
        "q_global is given, but no rule of the mask makes tokens global. Use longformer with "
        "global_tokens, or join global_tokens with |.");
  }
}

// The rows of global tokens: a ragged batch whose entry b has the queries lists[b].
class GlobalRows {
 public:
  GlobalRows(const TensorView& q, const TensorView& out, const AttentionShape& shape,
             const AttentionOptions& options, ExecutionContext& context)
      : q_(q), shape_(shape), options_(options), context_(context) {
    const TensorView &k = options.k_global, &v = options.v_global;
    lengths_ = {std::max<std::int64_t>(1, options.mask.rule()->batch()), q.size(1), k.size(1)};
    lists_ = global_queries(options.mask, lengths_);
    const std::int64_t batch = q.size(0);
    for (std::int64_t b = 0; b < batch; ++b) {
      first_row_.push_back(n_rows_);
      n_rows_ += n_queries(b);
    }
    const auto n = static_cast<std::size_t>(n_rows_);
    q_row_ = {q.size(2), q.size(3), dtype_size(q.dtype())};
    out_row_ = {q.size(2), v.size(3), dtype_size(out.dtype())};
    q_rows_.resize(n * q_row_.bytes());
    out_rows_.resize(n * out_row_.bytes());
    lse_rows_.resize(n * static_cast<std::size_t>(q.size(2)));
  }

  // The mask of all other rows.
  Mask others() const { return hide_queries(options_.mask, lists_); }

  // Throws what planning throws; computes nothing.
  void plan() {
    std::vector<SequenceGeometry> geometry;
    for (std::int64_t b = 0; b < q_.size(0); ++b) {
      geometry.push_back({n_queries(b), lengths_.kv_len, lengths_.kv_len - n_queries(b)});
    }
    AttentionOptions options = options_;
    options.mask = select_queries(options_.mask, lists_, lengths_);
    options.q_global = options.k_global = options.v_global = {};
    plan_.emplace_back(shape_, geometry, options, context_);
  }

  void run(const MutableTensorView& out, const MutableTensorView& lse) {
    gather();
    const TensorView &k = options_.k_global, &v = options_.v_global;
    const auto batch = static_cast<std::size_t>(q_.size(0));
    std::vector<KvRun> runs(batch);
    std::vector<SequenceTensors> tensors(batch);
    for (std::size_t i = 0; i < batch; ++i) {
      const auto b = static_cast<std::int64_t>(i);
      const auto row = static_cast<std::size_t>(first_row_[i]);
      runs[i].k = RowsAt::of_entry(k.data(), k, b).at;
      runs[i].v = RowsAt::of_entry(v.data(), v, b).at;
      runs[i].n = lengths_.kv_len;
      SequenceTensors& t = tensors[i];
      t.q = q_rows_.data() + row * q_row_.bytes();
      t.out = out_rows_.data() + row * out_row_.bytes();
      t.lse = lse_rows_.data() + row * static_cast<std::size_t>(q_.size(2));
      t.kv = {{&runs[i], lengths_.kv_len > 0 ? std::size_t{1} : 0},
              k.dtype(),
              k.stride(1),
              k.stride(2),
              k.stride(3),
              v.stride(1),
              v.stride(2),
              v.stride(3),
              lengths_.kv_len};
    }
    const RowStrides strides{q_row_.n_heads * q_row_.dim,
                             q_row_.dim,
                             1,
                             out_row_.n_heads * out_row_.dim,
                             out_row_.dim,
                             1,
                             1,
                             q_row_.n_heads};
    plan_.front().run(tensors, strides);
    scatter(out, lse);
  }

 private:
  const std::vector<std::int64_t>& queries(std::int64_t b) const {
    return lists_[lists_.size() == 1 ? 0 : static_cast<std::size_t>(b)];
  }
  std::int64_t n_queries(std::int64_t b) const {
    return static_cast<std::int64_t>(queries(b).size());
  }
  RowsAt dense(std::vector<std::byte>& rows, const RowShape& shape, std::int64_t b) const {
    const auto first = static_cast<std::size_t>(first_row_[static_cast<std::size_t>(b)]);
    return RowsAt::dense(rows.data() + first * shape.bytes(), shape);
  }
  void gather() {
    const TensorView& q = options_.q_global;
    for (std::int64_t b = 0; b < q.size(0); ++b) {
      for (std::int64_t i = 0; i < n_queries(b); ++i) {
        copy_row(q_row_, RowsAt::of_entry(q.data(), q, b), queries(b)[static_cast<std::size_t>(i)],
                 dense(q_rows_, q_row_, b), i);
      }
    }
  }
  void scatter(const MutableTensorView& out, const MutableTensorView& lse) {
    for (std::int64_t b = 0; b < q_.size(0); ++b) {
      for (std::int64_t i = 0; i < n_queries(b); ++i) {
        const std::int64_t query = queries(b)[static_cast<std::size_t>(i)];
        copy_row(out_row_, dense(out_rows_, out_row_, b), i, RowsAt::of_entry(out.data(), out, b),
                 query);
        for (std::int64_t h = 0; lse.given() && h < q_.size(2); ++h) {
          lse.as<float>()[b * lse.stride(0) + h * lse.stride(1) + query * lse.stride(2)] =
              lse_rows_[static_cast<std::size_t>(
                  (first_row_[static_cast<std::size_t>(b)] + i) * q_.size(2) + h)];
        }
      }
    }
  }

  const TensorView& q_;
  AttentionShape shape_;
  const AttentionOptions& options_;
  ExecutionContext& context_;
  MaskLengths lengths_;
  QueryLists lists_;
  std::vector<std::int64_t> first_row_;
  std::int64_t n_rows_ = 0;
  RowShape q_row_, out_row_;
  std::vector<std::byte> q_rows_, out_rows_;
  std::vector<float> lse_rows_;
  std::vector<AttentionPlan> plan_;  // one, once planned
};

}  // namespace

bool gather_global_rows(const PlanShape& shape, const AttentionOptions& options) {
  constexpr std::int64_t kLeastQueries = 256;  // below, copies and a second plan cost as much
  if (shape.q_len < kLeastQueries || shape.q_dtype == DType::kF64) return false;
  if (!has_global_tokens(options.mask)) return false;
  const bias_detail::Terms* bias = options.bias.terms();
  if (bias != nullptr && bias->kind == BiasKind::kDense) return false;
  const std::int64_t entries = options.mask.rule()->batch();
  if (entries != 0 && entries != shape.batch) return false;  // planning says what is wrong
  std::int64_t n = 0;
  for (const auto& list : global_queries(
           options.mask, {std::max<std::int64_t>(1, entries), shape.q_len, shape.kv_len})) {
    n = std::max(n, static_cast<std::int64_t>(list.size()));
  }
  return n > 0 && n <= shape.q_len / 16;
}

void check_global_projections(const TensorView& q, const TensorView& k, const TensorView& v,
                              const TensorView& out, const AttentionOptions& options,
                              const TensorView& lse) {
  const Projection projections[] = {{"q_global", &options.q_global, "q", &q},
                                    {"k_global", &options.k_global, "k", &k},
                                    {"v_global", &options.v_global, "v", &v}};
  check_projections(projections, options.mask, out, lse);
  const bias_detail::Terms* bias = options.bias.terms();
  if (bias != nullptr && bias->kind == BiasKind::kDense && bias->tensor.size(2) != 1) {
    kChecks.fail(
        "the dense bias has a row for each query, and q_global is given. Give it one row for all "
        "queries, [.., .., 1, kv_len], or use alibi, relative or t5.",
        ErrorCode::kNotSupported);
  }
}

void attention_with_global_projections(const AttentionTensors& tensors,
                                       const AttentionOptions& options, ExecutionContext& context) {
  const auto& [q, k, v, out, lse] = tensors;
  const PlanShape s = check_tensors(q, k, v, out, lse);
  const AttentionShape shape{s.n_heads, s.n_kv_heads, s.head_dim, s.v_dim,
                             s.q_dtype, s.kv_dtype,   s.out_dtype};
  check_global_projections(q, k, v, out, options, lse);
  AttentionOptions others = options;
  others.q_global = others.k_global = others.v_global = {};
  check_plan(shape,
             std::vector<SequenceGeometry>(static_cast<std::size_t>(q.size(0)),
                                           {q.size(1), k.size(1), k.size(1) - q.size(1)}),
             others);
  GlobalRows rows(q, out, shape, options, context);
  rows.plan();
  others.mask = rows.others();
  attention(q, k, v, out, others, lse, context);
  rows.run(out, lse);
}

}  // namespace raptly
