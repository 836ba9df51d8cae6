// The numbers of GGUF: kinds of metadata values and types of tensors.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "tensor/weight_type.h"

namespace raptly {

enum class GgufKind : std::uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64,
};

// Bytes that one value takes at least: a text has its 8-byte length. 0: no such kind, or an array.
constexpr std::uint64_t gguf_kind_bytes(std::uint32_t kind) {
  constexpr std::uint8_t kBytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 8, 0, 8, 8, 8};
  return kind < sizeof(kBytes) ? kBytes[kind] : 0;
}

std::optional<WeightType> weight_type_of_ggml(std::uint32_t type);
std::uint32_t ggml_type_of(WeightType type);
std::string ggml_type_name(std::uint32_t type);  // "Q2_K", or "unknown"

}  // namespace raptly
