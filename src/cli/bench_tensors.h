// The tensors of a benchmark case, filled with values like N(0, 1).
#pragma once

#include "base/aligned.h"
#include "cli/bench_cases.h"
#include "raptly/tensor.h"

namespace raptly {

class BenchTensors {
 public:
  // f32: q, k and v as f32 whatever the case says, for standard attention.
  explicit BenchTensors(const BenchCase& c, bool f32 = false);

  TensorView q() const { return {q_.data(), q_dtype_, q_shape_}; }
  TensorView k() const { return {k_.data(), kv_dtype_, kv_shape_}; }
  TensorView v() const { return {v_.data(), kv_dtype_, kv_shape_}; }
  MutableTensorView out() const { return {out_.data(), DType::kF32, q_shape_}; }
  const std::byte* k_bytes() const { return k_.data(); }
  const std::byte* v_bytes() const { return v_.data(); }
  std::size_t kv_nbytes() const { return k_.size(); }  // of k, and of v

 private:
  DType q_dtype_, kv_dtype_;
  TensorShape q_shape_, kv_shape_;
  AlignedBytes q_, k_, v_, out_;
};

}  // namespace raptly
