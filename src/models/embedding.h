// Embedding look-up: rows of the embedding matrix as f32, from the packed head (tied embeddings) or
// from the file.
#pragma once

#include <cstdint>
#include <vector>

#include "formats/checkpoint.h"
#include "kernels/matmul/matmul.h"

namespace raptly {

class Embedding {
 public:
  Embedding() = default;
  static Embedding packed(const PackedWeights& weights, std::int64_t d_model);
  static Embedding in_file(const CheckpointTensor& tensor);

  // Scratch that one look-up needs, and the look-up: out[0 .. d_model).
  std::size_t scratch_doubles() const {
    return static_cast<std::size_t>((d_model_ + 31) / 32 * 32);
  }
  void row(std::int64_t token, float* out, double* scratch) const noexcept;

 private:
  const PackedWeights* packed_ = nullptr;
  const CheckpointTensor* tensor_ = nullptr;
  std::int64_t d_model_ = 0;
};

}  // namespace raptly
