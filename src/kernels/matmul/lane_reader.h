// Reads one output of a packed panel in plain C++: unpack_row and the scalar level.
#pragma once

#include <cstring>

#include "kernels/matmul/panel_layout.h"
#include "raptly/dtype.h"

namespace raptly {

template <class T>
T read_as(const std::byte* p) {
  T value;
  std::memcpy(&value, p, sizeof(value));
  return value;
}

// A block of 32 weights of one output: weight e is code[e] * scale[e / 16] + least.
struct LaneBlock {
  int code[32];
  float scale[2];
  float least;
  bool has_min;
};

// Field `pair`, half `odd` of lane `lane` in a plane of kBits bits.
template <int kBits>
int plane_code(const std::byte* plane, int lane, int e) {
  constexpr int kFields = 16 / kBits;
  const auto word = read_as<std::uint32_t>(plane + e / 2 / kFields * 64 + lane * 4);
  return static_cast<int>(word >> (e % 2 * 16 + e / 2 % kFields * kBits)) & ((1 << kBits) - 1);
}

inline float read_f16(const std::byte* p, int lane) {
  return to_float(F16{read_as<std::uint16_t>(p + lane * 2)});
}

template <WeightType kType>
LaneBlock read_block(const std::byte* panel, std::int64_t b, int lane) {
  using Format = PanelFormat<kType>;
  const std::byte* planes = panel + Format::planes_offset(b);
  const std::byte* f16 = panel + Format::f16_offset(b);
  const std::byte* small = panel + Format::scales_offset(b) + lane;
  LaneBlock block;
  block.has_min = Format::kMin;
  for (int e = 0; e < 32; ++e) {
    int code = plane_code<Format::kLowBits>(planes, lane, e);
    if constexpr (Format::kHighBits > 0) {
      code |= plane_code<Format::kHighBits>(planes + 256, lane, e) << 4;
    }
    constexpr int kTop = 1 << (Format::kLowBits + Format::kHighBits - 1);
    block.code[e] = Format::kSigned ? (code ^ kTop) - kTop : code;
  }
  block.scale[0] = block.scale[1] = read_f16(f16, lane);
  block.least = Format::kMin ? read_f16(f16 + 32, lane) : 0.0f;
  if constexpr (Format::kSteps == 2) {
    block.scale[0] *= static_cast<float>(read_as<std::int8_t>(small));
    block.scale[1] *= static_cast<float>(read_as<std::int8_t>(small + 16));
  } else if constexpr (Format::kSuper > 1) {
    block.scale[0] = block.scale[1] *= static_cast<float>(read_as<std::uint8_t>(small));
    block.least *= static_cast<float>(read_as<std::uint8_t>(small + 16));
  }
  return block;
}

// The f32 rounding of the exact weight: the product is exact in f32 (11 bits of f16 and at most 13
// of scale and code), the sum rounds once.
inline float dequantized(const LaneBlock& block, int e) {
  const float value = static_cast<float>(block.code[e]) * block.scale[e / 16];
  return block.has_min ? value + block.least : value;
}

// Weight i of output `lane` in a panel of float weights.
template <class T>
float read_float(const std::byte* panel, std::int64_t i, int lane) {
  const T value = read_as<T>(panel + (i * 16 + lane) * static_cast<std::int64_t>(sizeof(T)));
  if constexpr (sizeof(T) == 4) {
    return value;
  } else {
    return to_float(value);
  }
}

}  // namespace raptly
