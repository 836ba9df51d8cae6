// y[r, o] = sum over i of x[r, i] * W[o, i] for model weights W [n_out, n_in] in any WeightType.
//
// Weights are repacked once into panels of 16 outputs (lane = output; README.md has the layout).
// Bits of y[r, :] do not depend on the number of rows, on the panel range of a call, nor - for
// quantised weights - on the ISA level. Two kinds of activations:
//   int16: 32-element blocks, |q| <= 32639, an f32 scale each; block dots are exact integers. The
//          default for quantised weights. Relative rms error about 5e-5.
//   f32:   one FMA chain over i ascending on weights dequantised to f32. Float weights always use
//   it,
//          quantised weights with `exact`.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/aligned.h"
#include "raptly/execution.h"
#include "tensor/weight_type.h"

namespace raptly {

constexpr std::int64_t kPanelOutputs = 16;

// Packed weights of one matrix. n_out is padded to whole panels with zero rows.
class PackedWeights {
 public:
  PackedWeights() = default;
  // Room for an [n_out, n_in] matrix; n_in must be a multiple of the type's block (32 for float
  // types too; callers pad). Throws kOutOfMemory.
  PackedWeights(WeightType type, std::int64_t n_out, std::int64_t n_in);
  // The same in the caller's memory: packed_bytes() bytes at a multiple of 64, which outlives this.
  // A model's matrices one after another in one large allocation lie on huge pages: a core then
  // streams twice the bytes a second (measured 32 against 16 GB/s), and decoding is streaming.
  PackedWeights(WeightType type, std::int64_t n_out, std::int64_t n_in, std::byte* memory);
  // A multiple of 64. Throws as the constructors do.
  static std::size_t packed_bytes(WeightType type, std::int64_t n_out, std::int64_t n_in);

  // Packs rows [first, first + n) from file bytes (rows in file order, block_bytes each). Rows of
  // the same panel must not be packed by two threads at once: cut at multiples of kPanelOutputs.
  void pack_rows(const std::byte* rows, std::int64_t first, std::int64_t n) noexcept;

  WeightType type() const { return type_; }
  std::int64_t n_out() const { return n_out_; }
  std::int64_t n_in() const { return n_in_; }
  std::int64_t n_panels() const { return (n_out_ + kPanelOutputs - 1) / kPanelOutputs; }
  std::size_t panel_bytes() const { return panel_bytes_; }
  const std::byte* panel(std::int64_t p) const {
    return data_ + static_cast<std::size_t>(p) * panel_bytes_;
  }
  std::size_t nbytes() const { return static_cast<std::size_t>(n_panels()) * panel_bytes_; }
  bool uses_int16_activations() const {
    return type_ != WeightType::kF32 && type_ != WeightType::kF16 && type_ != WeightType::kBf16;
  }

 private:
  void clear_padding() noexcept;

  WeightType type_ = WeightType::kF32;
  std::int64_t n_out_ = 0, n_in_ = 0;
  std::size_t panel_bytes_ = 0;
  std::byte* data_ = nullptr;
  AlignedBytes owned_;
};

// 127 * 256 + 127: q = 256 hi + lo with signed bytes, so byte products can compute the same dot.
constexpr float kMaxActivation = 32639.0f;

struct ActivationBlock {  // 72 bytes: 32 inputs of one row
  std::int16_t q[32];
  float scale;
  float scaled_sum;  // scale * sum of q, for formats with a minimum
};

// Rows of n_in f32 (row stride in elements) into blocks [rows][n_in / 32]: scale = max |x| / 32639,
// q = x * (32639 / max |x|) rounded to nearest even. NaN or inf in a block makes its scale NaN, so
// it reaches exactly that row; a block below 2^-101 is zero, so its bits do not depend on
// flush-to-zero.
void quantize_activations(const float* x, std::int64_t rows, std::int64_t x_stride,
                          std::int64_t n_in, ActivationBlock* out, Isa isa) noexcept;

// Scratch of one thread: unpacked weights of a panel pair.
struct alignas(64) MatmulScratch {
  std::byte bytes[64 * 1024];
};

// Outputs of panels [panel_begin, panel_end) for `rows` rows; y row stride in elements; columns
// beyond n_out are not written.
struct MatmulRange {
  std::int64_t rows = 0;
  std::int64_t panel_begin = 0, panel_end = 0;
  float* y = nullptr;
  std::int64_t y_stride = 0;
};
void matmul_int16(const PackedWeights& w, const ActivationBlock* x, const MatmulRange& range,
                  MatmulScratch& scratch, Isa isa) noexcept;
void matmul_f32(const PackedWeights& w, const float* x, std::int64_t x_stride,
                const MatmulRange& range, MatmulScratch& scratch, Isa isa) noexcept;

// Row `o` of W as f32 [n_in]: embedding look-up from the packed form (for tied embeddings).
void unpack_row(const PackedWeights& w, std::int64_t o, float* out) noexcept;

}  // namespace raptly
