#include "models/embedding.h"

#include <cstring>

namespace raptly {

Embedding Embedding::packed(const PackedWeights& weights, std::int64_t d_model) {
  Embedding e;
  e.packed_ = &weights;
  e.d_model_ = d_model;
  return e;
}

Embedding Embedding::in_file(const CheckpointTensor& tensor) {
  Embedding e;
  e.tensor_ = &tensor;
  e.d_model_ = tensor.shape[1];
  return e;
}

void Embedding::row(std::int64_t token, float* out, double* scratch) const noexcept {
  if (packed_ != nullptr) {  // its rows are padded to whole blocks
    auto* padded = reinterpret_cast<float*>(scratch);
    unpack_row(*packed_, token, padded);
    std::memcpy(out, padded, static_cast<std::size_t>(d_model_) * sizeof(float));
    return;
  }
  const WeightTypeInfo& info = weight_type_info(tensor_->type);
  const std::int64_t row_bytes = d_model_ / info.block_elements * info.block_bytes;
  dequantize(tensor_->type, tensor_->data.data() + token * row_bytes, d_model_, scratch);
  for (std::int64_t i = 0; i < d_model_; ++i) out[i] = static_cast<float>(scratch[i]);
}

}  // namespace raptly
