// Single elements of any dtype as doubles, for code that may be slow: textbook loops, tables.
#pragma once

#include <cstdint>

#include "raptly/dtype.h"

namespace raptly {

inline double element(const void* data, DType dtype, std::int64_t at) {
  switch (dtype) {
    case DType::kF16:
      return static_cast<double>(to_float(static_cast<const F16*>(data)[at]));
    case DType::kBf16:
      return static_cast<double>(to_float(static_cast<const Bf16*>(data)[at]));
    case DType::kF64:
      return static_cast<const double*>(data)[at];
    default:
      return static_cast<double>(static_cast<const float*>(data)[at]);
  }
}

inline void set_element(void* data, DType dtype, std::int64_t at, double value) {
  switch (dtype) {
    case DType::kF16:
      static_cast<F16*>(data)[at] = to_f16(static_cast<float>(value));
      break;
    case DType::kBf16:
      static_cast<Bf16*>(data)[at] = to_bf16(static_cast<float>(value));
      break;
    case DType::kF64:
      static_cast<double*>(data)[at] = value;
      break;
    default:
      static_cast<float*>(data)[at] = static_cast<float>(value);
  }
}

}  // namespace raptly
