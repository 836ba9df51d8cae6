#include "raptly/attention.h"

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

}  // namespace

void attention(TensorView q, TensorView k, TensorView v, MutableTensorView out,
               const AttentionOptions& options, MutableTensorView lse, ExecutionContext& context) {
  const AttentionShape shape = check_tensors(q, k, v, out, lse);
  const auto batch = static_cast<std::size_t>(q.size(0));
  const std::int64_t q_len = q.size(1), kv_len = k.size(1);
  const std::vector<SequenceGeometry> geometry(batch, {q_len, kv_len, kv_len - q_len});
  AttentionPlan plan(shape, geometry, options, context);
  std::vector<KvRun> runs(batch);
  std::vector<SequenceTensors> tensors(batch);
  for (std::size_t i = 0; i < batch; ++i) {
    const auto b = static_cast<std::int64_t>(i);
    runs[i].k = entry(k.data(), k.shape(), k.dtype(), b);
    runs[i].v = entry(v.data(), v.shape(), v.dtype(), b);
    runs[i].n = kv_len;
    SequenceTensors& t = tensors[i];
    t.q = entry(q.data(), q.shape(), q.dtype(), b);
    t.out = entry(out.data(), out.shape(), out.dtype(), b);
    if (lse.given()) {
      t.lse = static_cast<float*>(entry(lse.data(), lse.shape(), lse.dtype(), b));
    }
    t.kv.runs = {&runs[i], kv_len > 0 ? std::size_t{1} : 0};
    t.kv.dtype = k.dtype();
    t.kv.k_token_stride = k.stride(1);
    t.kv.k_head_stride = k.stride(2);
    t.kv.k_dim_stride = k.stride(3);
    t.kv.v_token_stride = v.stride(1);
    t.kv.v_head_stride = v.stride(2);
    t.kv.v_dim_stride = v.stride(3);
    t.kv.length = kv_len;
  }
  RowStrides strides{q.stride(1),   q.stride(2),   q.stride(3), out.stride(1),
                     out.stride(2), out.stride(3), 0,           1};
  if (lse.given()) {
    strides.lse_head = lse.stride(1);
    strides.lse_token = lse.stride(2);
  }
  plan.run(tensors, strides);
}

}  // namespace raptly
