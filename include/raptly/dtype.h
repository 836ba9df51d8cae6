// Element types of tensors. f16 and bf16 are storage only: arithmetic happens in f32 or f64.
#pragma once

#include <cstddef>
#include <cstdint>

namespace raptly {

enum class DType : std::uint8_t { kF32, kF16, kBf16, kF64 };

struct F16 {  // IEEE 754 binary16
  std::uint16_t bits = 0;
};
struct Bf16 {  // the upper half of a binary32
  std::uint16_t bits = 0;
};

constexpr std::size_t dtype_size(DType dtype) {
  return dtype == DType::kF64 ? 8 : dtype == DType::kF32 ? 4 : 2;
}
const char* dtype_name(DType dtype);  // "f32", "f16", "bf16", "f64"

// Widening is exact; narrowing rounds to nearest even, keeps NaN a NaN and overflows to infinity.
float to_float(F16 x);
float to_float(Bf16 x);
F16 to_f16(float x);
Bf16 to_bf16(float x);

template <class T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::kF32;
};
template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::kF64;
};
template <>
struct DTypeOf<F16> {
  static constexpr DType value = DType::kF16;
};
template <>
struct DTypeOf<Bf16> {
  static constexpr DType value = DType::kBf16;
};

}  // namespace raptly
