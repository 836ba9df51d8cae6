#include "attention/backward_items.h"

#include <cmath>
#include <cstring>

#include "attention/row_copy.h"
#include "base/elements.h"

namespace raptly {
namespace {

InputRows input_rows(const TensorView& t, std::int64_t b) {
  if (!t.given()) return {};
  return {RowsAt::of_entry(t.data(), t, b).at, t.dtype(), t.stride(1), t.stride(2), t.stride(3)};
}

GradientRows gradient_rows(const MutableTensorView& t, std::int64_t b) {
  if (!t.given()) return {};
  return {RowsAt::of_entry(t.data(), t, b).at, t.dtype(), t.stride(1), t.stride(2), t.stride(3)};
}

// Of a tensor whose first dimension is the batch.
template <class T>
T* entry(T* data, const TensorView& t, std::int64_t b) {
  using Byte = std::conditional_t<std::is_const_v<T>, const std::byte, std::byte>;
  if (data == nullptr) return nullptr;
  return static_cast<Byte*>(data) +
         b * t.stride(0) * static_cast<std::int64_t>(dtype_size(t.dtype()));
}

}  // namespace

BackwardItems::BackwardItems(const BackwardInputs& inputs, const AttentionGradients& gradients,
                             const AttentionOptions& options, const PlanShape& shape, int lanes)
    : in_(inputs), gradients_(gradients), options_(options), shape_(shape), lanes_(lanes) {
  const auto head_dim = static_cast<double>(shape.head_dim);
  scale_ = options.scale ? static_cast<double>(*options.scale)
           : shape.q_dtype == DType::kF64
               ? 1 / std::sqrt(head_dim)
               : static_cast<double>(1.0f / std::sqrt(static_cast<float>(head_dim)));
  const auto batch = static_cast<std::size_t>(shape.batch);
  bias_ = AttentionBias(
      options,
      std::vector<SequenceGeometry>(batch, {shape.q_len, shape.kv_len, shape.kv_len - shape.q_len}),
      shape.n_heads, lanes);
  runs_.resize(batch);
  views_.resize(batch);
  for (std::size_t i = 0; i < batch; ++i) {
    const auto b = static_cast<std::int64_t>(i);
    runs_[i].k = entry(in_.k.data(), in_.k, b);
    runs_[i].v = entry(in_.v.data(), in_.v, b);
    runs_[i].n = shape.kv_len;
    views_[i] = {{&runs_[i], 1},  shape.kv_dtype,  in_.k.stride(1),
                 in_.k.stride(2), in_.k.stride(3), in_.v.stride(1),
                 in_.v.stride(2), in_.v.stride(3), shape.kv_len};
  }
}

BiasGradient BackwardItems::bias_gradient(std::int64_t b) const {
  const MutableTensorView& t = gradients_.dbias;
  if (!t.given()) return {};
  const bias_detail::Terms& terms = *options_.bias.terms();
  BiasGradient to{t.data(), t.dtype(), 0, 0, 0, nullptr};
  if (terms.kind == BiasKind::kDense) {
    const auto stride = [&](int dim) { return t.size(dim) == 1 ? 0 : t.stride(dim); };
    if (t.size(0) > 1) to.at = entry(t.data(), t, b);
    to.head_stride = stride(1);
    to.query_stride = stride(2);
    to.key_stride = stride(3);
  } else if (terms.kind == BiasKind::kDistance) {
    if (t.rank() == 2) to.at = entry(t.data(), t, b);
    to.head_stride = t.stride(t.rank() - 1);
  } else if (terms.n_buckets > 0) {
    to.head_stride = t.stride(1);
    to.key_stride = t.stride(0);
    to.entry_of = terms.bucket_of.data();
  } else {
    to.head_stride = t.stride(0);
    to.key_stride = t.stride(1);
  }
  return to;
}

FlashBackwardItem BackwardItems::item(std::int64_t b, std::int64_t first_head) const {
  FlashBackwardItem item;
  FlashForwardItem& f = item.forward;
  f.first_head = first_head;
  f.kv_head = first_head / (shape_.n_heads / shape_.n_kv_heads);
  f.group = lanes_;
  f.head_dim = static_cast<int>(shape_.head_dim);
  f.v_dim = static_cast<int>(shape_.v_dim);
  f.scale = scale_;
  f.softcap = options_.softcap.value_or(0.0f);
  f.bias = bias_.of(static_cast<std::size_t>(b));
  f.sinks = bias_.sinks();
  f.q = entry(in_.q.data(), in_.q, b);
  f.q_dtype = shape_.q_dtype;
  f.q_token_stride = in_.q.stride(1);
  f.q_head_stride = in_.q.stride(2);
  f.q_dim_stride = in_.q.stride(3);
  f.out = const_cast<void*>(entry(in_.out.data(), in_.out, b));
  f.out_dtype = shape_.out_dtype;
  f.out_token_stride = in_.out.stride(1);
  f.out_head_stride = in_.out.stride(2);
  f.out_dim_stride = in_.out.stride(3);
  f.lse = const_cast<float*>(static_cast<const float*>(entry(in_.lse.data(), in_.lse, b)));
  f.lse_head_stride = in_.lse.stride(1);
  f.lse_token_stride = in_.lse.stride(2);
  f.kv = &views_[static_cast<std::size_t>(b)];
  item.dout = input_rows(in_.dout, b);
  if (in_.dlse.given()) {
    item.dlse = {entry(in_.dlse.data(), in_.dlse, b), in_.dlse.dtype(), in_.dlse.stride(2),
                 in_.dlse.stride(1), 1};
  }
  item.dq = gradient_rows(gradients_.dq, b);
  item.dk = gradient_rows(gradients_.dk, b);
  item.dv = gradient_rows(gradients_.dv, b);
  item.dbias = bias_gradient(b);
  const MutableTensorView& dsinks = gradients_.dsinks;
  if (dsinks.given()) item.dsinks = {dsinks.data(), dsinks.dtype(), 0, dsinks.stride(0), 1};
  item.accumulate = gradients_.accumulate;
  return item;
}

void fill_zero(const MutableTensorView& t) {
  if (!t.given() || t.shape().numel() == 0) return;
  std::vector<std::int64_t> index(static_cast<std::size_t>(t.rank()));
  const int last = t.rank() - 1;
  while (true) {
    std::int64_t at = 0;
    for (int d = 0; d < last; ++d) at += index[static_cast<std::size_t>(d)] * t.stride(d);
    const std::size_t element = dtype_size(t.dtype());
    const auto n = static_cast<std::size_t>(t.size(last));
    if (t.stride(last) == 1) {  // 0 is all bits zero in every dtype
      std::memset(static_cast<std::byte*>(t.data()) + at * static_cast<std::int64_t>(element), 0,
                  n * element);
    } else {
      for (std::int64_t i = 0; i < t.size(last); ++i) {
        set_element(t.data(), t.dtype(), at + i * t.stride(last), 0);
      }
    }
    int d = last - 1;
    while (d >= 0 && ++index[static_cast<std::size_t>(d)] == t.size(d)) {
      index[static_cast<std::size_t>(d--)] = 0;
    }
    if (d < 0) return;
  }
}

}  // namespace raptly
