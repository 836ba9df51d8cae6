// Plan: AttentionPlan for a batch of tensors.
#include <vector>

#include "attention/plan.h"
#include "attention/validate.h"

namespace raptly {
namespace {

// The address of batch entry b; of an empty tensor maybe null.
template <class T>
T* entry(T* data, const TensorShape& shape, DType dtype, std::int64_t b) {
  if (data == nullptr) return nullptr;
  using Byte = std::conditional_t<std::is_const_v<T>, const std::byte, std::byte>;
  return static_cast<Byte*>(data) +
         b * shape.stride(0) * static_cast<std::int64_t>(dtype_size(dtype));
}

std::vector<SequenceGeometry> geometry_of(const PlanShape& shape) {
  check_plan_shape(shape);
  return std::vector<SequenceGeometry>(static_cast<std::size_t>(shape.batch),
                                       {shape.q_len, shape.kv_len, shape.kv_len - shape.q_len});
}

// The shape with what its zeros stand for.
PlanShape filled(PlanShape shape) {
  if (shape.v_dim == 0) shape.v_dim = shape.head_dim;
  return shape;
}

AttentionShape shared_shape(const PlanShape& s) {
  return {s.n_heads, s.n_kv_heads, s.head_dim, s.v_dim, s.q_dtype, s.kv_dtype, s.out_dtype};
}

}  // namespace

struct Plan::Impl {
  Impl(const PlanShape& planned, const AttentionOptions& options, ExecutionContext& context,
       Workspace* workspace)
      : shape(planned),
        bias(options.bias),
        plan(shared_shape(planned), geometry_of(planned), options, context, workspace),
        runs(static_cast<std::size_t>(planned.batch)),
        tensors(static_cast<std::size_t>(planned.batch)) {}

  void run(const TensorView& q, const TensorView& k, const TensorView& v,
           const MutableTensorView& out, const MutableTensorView& lse) noexcept;

  PlanShape shape;
  Bias bias;
  AttentionPlan plan;
  std::vector<KvRun> runs;  // one a batch entry; filled by run()
  std::vector<SequenceTensors> tensors;
};

void Plan::Impl::run(const TensorView& q, const TensorView& k, const TensorView& v,
                     const MutableTensorView& out, const MutableTensorView& lse) noexcept {
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const auto b = static_cast<std::int64_t>(i);
    runs[i].k = entry(k.data(), k.shape(), k.dtype(), b);
    runs[i].v = entry(v.data(), v.shape(), v.dtype(), b);
    runs[i].n = shape.kv_len;
    SequenceTensors& t = tensors[i];
    t.q = entry(q.data(), q.shape(), q.dtype(), b);
    t.out = entry(out.data(), out.shape(), out.dtype(), b);
    t.lse = static_cast<float*>(entry(lse.data(), lse.shape(), lse.dtype(), b));
    t.kv.runs = {&runs[i], shape.kv_len > 0 ? std::size_t{1} : 0};
    t.kv.dtype = shape.kv_dtype;
    t.kv.k_token_stride = k.stride(1);
    t.kv.k_head_stride = k.stride(2);
    t.kv.k_dim_stride = k.stride(3);
    t.kv.v_token_stride = v.stride(1);
    t.kv.v_head_stride = v.stride(2);
    t.kv.v_dim_stride = v.stride(3);
    t.kv.length = shape.kv_len;
  }
  RowStrides strides{q.stride(1),   q.stride(2),   q.stride(3), out.stride(1),
                     out.stride(2), out.stride(3), 0,           1};
  if (lse.given()) {
    strides.lse_head = lse.stride(1);
    strides.lse_token = lse.stride(2);
  }
  plan.run(tensors, strides);
}

Plan::Plan(const PlanShape& shape, const AttentionOptions& options, ExecutionContext& context,
           Workspace* workspace)
    : impl_(std::make_unique<Impl>(filled(shape), options, context, workspace)) {}
Plan::~Plan() = default;
Plan::Plan(Plan&&) noexcept = default;
Plan& Plan::operator=(Plan&&) noexcept = default;

void Plan::run(TensorView q, TensorView k, TensorView v, MutableTensorView out,
               MutableTensorView lse) {
  check_planned(check_tensors(q, k, v, out, lse), impl_->shape);
  check_bias_apart(impl_->bias, out, lse);
  impl_->run(q, k, v, out, lse);
}

const PlanReport& Plan::report() const { return impl_->plan.report(); }
std::string Plan::explain() const { return impl_->plan.explain(); }

}  // namespace raptly
