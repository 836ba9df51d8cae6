#include "cli/bench_backward.h"

#include <cstring>
#include <vector>

namespace raptly {
namespace {

std::size_t q_nbytes(const BenchCase& c) {
  return static_cast<std::size_t>(c.batch * c.q_len * c.n_heads * c.head_dim) *
         dtype_size(c.q_dtype);
}

}  // namespace

BenchBackward::BenchBackward(const BenchCase& c, const BenchTensors& data,
                             const AttentionOptions& options)
    : case_(c),
      data_(data),
      options_(options),
      out_(q_nbytes(c)),
      dout_(q_nbytes(c)),
      dq_(q_nbytes(c)),
      dk_(data.kv_nbytes()),
      dv_(data.kv_nbytes()),
      lse_(static_cast<std::size_t>(c.batch * c.n_heads * c.q_len)) {
  std::memcpy(dout_.data(), data.q().data(), dout_.size());  // numbers like any
  std::vector<std::int64_t> sizes;
  if (c.bias == "alibi") sizes = {c.n_heads};
  if (c.bias == "relative") sizes = {c.n_heads, 257};
  if (c.bias == "dense") sizes = {1, 1, c.q_len, c.kv_len};
  if (sizes.empty()) return;
  const TensorShape shape(sizes);
  dbias_ = AlignedArray<float>(static_cast<std::size_t>(shape.numel()));
  dbias_view_ = MutableTensorView(dbias_.data(), DType::kF32, shape);
}

MutableTensorView BenchBackward::like_q(AlignedBytes& bytes) const {
  return {bytes.data(), case_.q_dtype, data_.q().shape()};
}
MutableTensorView BenchBackward::like_k(AlignedBytes& bytes) const {
  return {bytes.data(), case_.kv_dtype, data_.k().shape()};
}

void BenchBackward::run_forward(ExecutionContext& context) {
  attention(data_.q(), data_.k(), data_.v(), like_q(out_), options_,
            MutableTensorView(lse_.data(), {case_.batch, case_.n_heads, case_.q_len}), context);
}

void BenchBackward::run_backward(ExecutionContext& context) {
  BackwardInputs in;
  in.dout = like_q(dout_);
  in.q = data_.q();
  in.k = data_.k();
  in.v = data_.v();
  in.out = like_q(out_);
  in.lse = TensorView(lse_.data(), {case_.batch, case_.n_heads, case_.q_len});
  AttentionGradients gradients;
  gradients.dq = like_q(dq_);
  gradients.dk = like_k(dk_);
  gradients.dv = like_k(dv_);
  gradients.dbias = dbias_view_;
  attention_backward(in, gradients, options_, context);
}

double BenchBackward::nbytes() const {
  return 4 * static_cast<double>(dq_.size()) + 4 * static_cast<double>(dk_.size());
}

}  // namespace raptly
