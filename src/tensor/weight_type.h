// Storage types of model weights: the float types and the block formats of GGUF.
#pragma once

#include <cstddef>
#include <cstdint>

namespace raptly {

enum class WeightType : std::uint8_t {
  kF32,
  kF16,
  kBf16,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ4K,
  kQ5K,
  kQ6K,
};

// A row is a whole number of blocks of block_elements values in block_bytes bytes.
struct WeightTypeInfo {
  const char* name;  // "Q4_1", as GGUF tools print it
  int block_elements;
  int block_bytes;
};
const WeightTypeInfo& weight_type_info(WeightType type);

constexpr int kWeightTypeCount = 11;

// Reference dequantisation, textbook loops: n elements (a multiple of block_elements) from
// `blocks`. Each value is exact in f64.
void dequantize(WeightType type, const std::byte* blocks, std::int64_t n, double* out);

}  // namespace raptly
