#include "models/linear.h"

#include <algorithm>
#include <utility>

namespace raptly {

void LinearInput::reserve(std::int64_t rows, std::int64_t n_in) {
  const std::int64_t stride = (n_in + 31) / 32 * 32;
  const auto floats = static_cast<std::size_t>(rows * stride);
  if (x_.size() < floats) {
    x_ = AlignedArray<float>();
    x_ = AlignedArray<float>(floats);
  }
  if (quantized_.size() < floats / 32) {
    quantized_ = AlignedArray<ActivationBlock>();
    quantized_ = AlignedArray<ActivationBlock>(floats / 32);
  }
  set_width(n_in);
}

void LinearInput::set_width(std::int64_t n_in) noexcept {
  n_in_ = n_in;
  stride_ = (n_in + 31) / 32 * 32;
}

void LinearInput::finish_rows(std::int64_t begin, std::int64_t end, bool int16, Isa isa) noexcept {
  if (stride_ != n_in_) {
    for (std::int64_t r = begin; r < end; ++r) std::fill(row(r) + n_in_, row(r) + stride_, 0.0f);
  }
  if (int16) {
    quantize_activations(row(begin), end - begin, stride_, stride_,
                         quantized_.data() + begin * blocks(), isa);
  }
}

Linear::Linear(std::vector<Part> parts, std::vector<float> bias, bool exact)
    : parts_(std::move(parts)), bias_(std::move(bias)), exact_(exact) {
  for (const Part& part : parts_) {
    n_out_ += part.n_out;
    n_panels_ += part.weights.n_panels();
    wants_int16_ |= !exact && part.weights.uses_int16_activations();
  }
}

void Linear::run(const LinearInput& x, const MatmulRange& range, MatmulScratch& scratch,
                 Isa isa) const noexcept {
  std::int64_t first_panel = 0;
  for (const Part& part : parts_) {
    const std::int64_t panels = part.weights.n_panels();
    const std::int64_t from = std::max(range.panel_begin - first_panel, std::int64_t{0});
    const std::int64_t to = std::min(range.panel_end - first_panel, panels);
    first_panel += panels;
    if (from >= to) continue;
    float* row = range.y + part.first_output;
    run_part(part, x, {range.rows, from, to, row, range.y_stride}, scratch, isa);
    if (bias_.empty()) continue;
    const float* bias = bias_.data() + part.first_output;
    const std::int64_t last = std::min(to * kPanelOutputs, part.n_out);
    for (std::int64_t r = 0; r < range.rows; ++r, row += range.y_stride) {
      for (std::int64_t o = from * kPanelOutputs; o < last; ++o) row[o] += bias[o];
    }
  }
}

void Linear::run_part(const Part& part, const LinearInput& x, const MatmulRange& range,
                      MatmulScratch& scratch, Isa isa) const noexcept {
  if (!exact_ && part.weights.uses_int16_activations()) {
    matmul_int16(part.weights, x.quantized(), range, scratch, isa);
  } else {
    matmul_f32(part.weights, x.x(), x.stride(), range, scratch, isa);
  }
}

}  // namespace raptly
