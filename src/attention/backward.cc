#include "raptly/backward.h"

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include "attention/backward_items.h"
#include "attention/backward_pass.h"
#include "attention/validate_backward.h"
#include "base/elements.h"
#include "kernels/flash_backward/reference.h"
#include "mask/predicate.h"
#include "mask/row_rules.h"
#include "mask/rule.h"

namespace raptly {
namespace {

// Head by head, in order: heads of a key head add to the same rows.
void run_reference(const BackwardInputs& in, const AttentionGradients& gradients,
                   const AttentionOptions& options, const PlanShape& shape) {
  const BackwardItems items(in, gradients, options, shape, 1);
  for (std::int64_t b = 0; b < shape.batch; ++b) {
    for (std::int64_t h = 0; h < shape.n_heads; ++h) {
      const MaskPredicate sees(options.mask, bottom_right_scope(shape.q_len, shape.kv_len, b, h));
      flash_backward_reference(items.item(b, h), shape.q_len, std::ref(sees));
    }
  }
}

// The rows of lse's gradient that `keep` says, the others 0; of f64 calls.
class PartOfRows {
 public:
  PartOfRows(const TensorView& dlse, const std::function<bool(std::int64_t, std::int64_t)>& keep) {
    if (!dlse.given()) return;
    const std::int64_t n_heads = dlse.size(1), q_len = dlse.size(2);
    for (std::int64_t b = 0; b < dlse.size(0); ++b) {
      for (std::int64_t h = 0; h < n_heads; ++h) {
        for (std::int64_t i = 0; i < q_len; ++i) {
          const std::int64_t at = b * dlse.stride(0) + h * dlse.stride(1) + i * dlse.stride(2);
          rows_.push_back(keep(b, i) ? element(dlse.data(), dlse.dtype(), at) : 0);
        }
      }
    }
    view_ = TensorView(rows_.data(), {dlse.size(0), n_heads, q_len});
  }
  const TensorView& view() const { return view_; }

 private:
  std::vector<double> rows_;
  TensorView view_;
};

// Without second projections; adds to the gradients, or with f32 storage does as they say.
void run_one(const BackwardInputs& in, const AttentionGradients& gradients,
             const AttentionOptions& options, const PlanShape& shape, ExecutionContext& context) {
  if (shape.q_dtype == DType::kF64) return run_reference(in, gradients, options, shape);
  run_backward(in, gradients, options, shape, context);
}

// Each query belongs to one of two calls: one over q, k and v, and one over the second projections.
void run_with_global_projections(const BackwardInputs& in, const AttentionGradients& gradients,
                                 const AttentionOptions& options, const PlanShape& shape,
                                 ExecutionContext& context) {
  const QueryLists globals = global_queries(
      options.mask,
      {std::max<std::int64_t>(1, options.mask.rule()->batch()), shape.q_len, shape.kv_len});
  const auto is_global = [&](std::int64_t b, std::int64_t i) {
    const auto& list = globals[globals.size() == 1 ? 0 : static_cast<std::size_t>(b)];
    return std::binary_search(list.begin(), list.end(), i);
  };
  QueryLists others(globals.size());
  for (std::size_t b = 0; b < globals.size(); ++b) {
    for (std::int64_t i = 0; i < shape.q_len; ++i) {
      if (!is_global(static_cast<std::int64_t>(b), i)) others[b].push_back(i);
    }
  }
  BackwardInputs inputs = in;
  AttentionOptions part = options;
  part.q_global = part.k_global = part.v_global = {};
  AttentionGradients wanted = gradients;
  const bool is_f64 = shape.q_dtype == DType::kF64;

  // The kernels take a row's share of the sink from its lse, whatever the row sees: once for all
  // rows. The f64 path finds lse anew, in either call for the rows of it.
  const PartOfRows local(in.dlse, [&](auto b, auto i) { return !is_global(b, i); });
  const PartOfRows global(in.dlse, is_global);
  if (is_f64) inputs.dlse = local.view();
  part.mask = hide_queries(options.mask, globals);
  run_one(inputs, wanted, part, shape, context);

  inputs.q = options.q_global;
  inputs.k = options.k_global;
  inputs.v = options.v_global;
  if (is_f64) inputs.dlse = global.view();
  part.mask = hide_queries(options.mask, std::move(others));
  wanted.dq = gradients.dq_global;
  wanted.dk = gradients.dk_global;
  wanted.dv = gradients.dv_global;
  wanted.accumulate = true;
  if (!is_f64) wanted.dsinks = {};
  run_one(inputs, wanted, part, shape, context);
}

}  // namespace

void attention_backward(const BackwardInputs& inputs, const AttentionGradients& gradients,
                        const AttentionOptions& options, ExecutionContext& context) {
  const PlanShape shape = check_backward(inputs, gradients, options);
  const bool is_reference = shape.q_dtype == DType::kF64;
  if (!gradients.accumulate) {
    for (const MutableTensorView* t : {&gradients.dbias, &gradients.dsinks, &gradients.dq_global,
                                       &gradients.dk_global, &gradients.dv_global}) {
      fill_zero(*t);
    }
    for (const MutableTensorView* t : {&gradients.dq, &gradients.dk, &gradients.dv}) {
      if (is_reference) fill_zero(*t);
    }
  }
  if (options.q_global.given()) {
    return run_with_global_projections(inputs, gradients, options, shape, context);
  }
  run_one(inputs, gradients, options, shape, context);
}

}  // namespace raptly
