// A linear layer: y = x W^T + bias, W packed for the matmul kernels.
//
// Several matrices of a file that read the same input (q, k, v; gate, up) are one layer here: one
// parallel region, one quantisation of x. Neighbours of one type share a packed matrix.
#pragma once

#include <cstdint>
#include <vector>

#include "base/aligned.h"
#include "kernels/matmul/matmul.h"
#include "raptly/execution.h"

namespace raptly {

// Rows of one input for linear layers, in both forms that the kernels read. Filled by rows; the
// float rows are padded with zeros to a multiple of 32.
class LinearInput {
 public:
  // Room for `rows` rows of n_in; grows only. Throws kOutOfMemory.
  void reserve(std::int64_t rows, std::int64_t n_in);
  // Says how wide the rows are from now on (n_in of the last reserve, or less).
  void set_width(std::int64_t n_in) noexcept;

  float* row(std::int64_t r) const { return x_.data() + r * stride_; }
  std::int64_t stride() const { return stride_; }
  std::int64_t blocks() const { return stride_ / 32; }
  const float* x() const { return x_.data(); }
  ActivationBlock* quantized() const { return quantized_.data(); }
  // Zeroes the padding of rows [begin, end) and quantises them where `int16` asks for it.
  void finish_rows(std::int64_t begin, std::int64_t end, bool int16, Isa isa) noexcept;

 private:
  AlignedArray<float> x_;
  AlignedArray<ActivationBlock> quantized_;
  std::int64_t n_in_ = 0;
  std::int64_t stride_ = 0;
};

class Linear {
 public:
  struct Part {
    PackedWeights weights;
    std::int64_t first_output = 0;  // column of y
    std::int64_t n_out = 0;
  };

  Linear() = default;
  Linear(std::vector<Part> parts, std::vector<float> bias, bool exact);

  std::int64_t n_out() const { return n_out_; }
  bool wants_int16() const { return wants_int16_; }  // some part reads int16 activations
  const Part& part(std::size_t i) const { return parts_[i]; }

  // Units of work (panels of kPanelOutputs outputs), numbered over all parts.
  std::int64_t n_panels() const { return n_panels_; }
  // The outputs of some panels for the first rows of x.
  void run(const LinearInput& x, const MatmulRange& range, MatmulScratch& scratch,
           Isa isa) const noexcept;

 private:
  void run_part(const Part& part, const LinearInput& x, const MatmulRange& range,
                MatmulScratch& scratch, Isa isa) const noexcept;

  std::vector<Part> parts_;
  std::vector<float> bias_;  // [n_out] or empty
  std::int64_t n_out_ = 0;
  std::int64_t n_panels_ = 0;
  bool exact_ = false;
  bool wants_int16_ = false;
};

}  // namespace raptly
