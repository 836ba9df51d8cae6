// A case of attention_backward(): its tensors, and how it is run.
#pragma once

#include "base/aligned.h"
#include "cli/bench_cases.h"
#include "cli/bench_tensors.h"
#include "raptly/backward.h"

namespace raptly {

class BenchBackward {
 public:
  // data: q, k and v of the case, and must outlive it. dbias, where the case has a bias, is one of
  // the gradients.
  BenchBackward(const BenchCase& c, const BenchTensors& data, const AttentionOptions& options);

  void run_forward(ExecutionContext& context);
  void run_backward(ExecutionContext& context);
  double nbytes() const;  // of all tensors that the backward pass reads or writes, once each

 private:
  MutableTensorView like_q(AlignedBytes& bytes) const;
  MutableTensorView like_k(AlignedBytes& bytes) const;

  const BenchCase& case_;
  const BenchTensors& data_;
  const AttentionOptions& options_;
  AlignedBytes out_, dout_, dq_, dk_, dv_;
  AlignedArray<float> lse_, dbias_;
  MutableTensorView dbias_view_;
};

}  // namespace raptly
