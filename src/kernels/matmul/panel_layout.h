// Geometry of packed panels (README.md draws them). A panel is 16 outputs; lane o of every 64-byte
// vector belongs to output o. Payload [n_in / 32][kPayloadBytes], then the scales of its blocks.
#pragma once

#include <cstdint>

#include "tensor/weight_type.h"

namespace raptly {

// Codes of kLowBits + kHighBits bits in two planes. Signed: two's complement, the published offset
// (8, 16, 32) is gone. kSteps: scales a block of 32. kMin: a minimum a block. kSuper: blocks that
// share an f16 scale; above 1, blocks have 8-bit scales of their own.
template <int kLow, int kHigh, bool kSignedCodes, int kStepsPerBlock, bool kHasMin,
          int kBlocksPerSuper>
struct PanelFormatOf {
  static constexpr int kLowBits = kLow, kHighBits = kHigh, kSteps = kStepsPerBlock;
  static constexpr int kSuper = kBlocksPerSuper;
  static constexpr bool kSigned = kSignedCodes, kMin = kHasMin;
  static constexpr int kPayloadBytes = (kLow + kHigh) * 64;
  static constexpr int kF16Bytes = kMin ? 64 : 32;         // 16 d (, 16 m) a super-block
  static constexpr int kByteScales = kSuper > 1 ? 32 : 0;  // 16 + 16 8-bit scales a block
  static constexpr int kBlockBytes = kPayloadBytes + kByteScales + kF16Bytes / kSuper;

  static constexpr std::int64_t panel_bytes(std::int64_t blocks) {
    return blocks * (kPayloadBytes + kByteScales) + blocks / kSuper * kF16Bytes;
  }
  // From the start of the panel: f16 scales of block b's super-block, then (kMin) 16 f16 minima.
  static constexpr std::int64_t f16_offset(std::int64_t blocks, std::int64_t b) {
    return blocks * (kPayloadBytes + kByteScales) + b / kSuper * kF16Bytes;
  }
  // Two sets of 16 bytes: scale and minimum (kMin), or the scales of the two halves (kSteps == 2).
  static constexpr std::int64_t byte_offset(std::int64_t blocks, std::int64_t b) {
    return blocks * kPayloadBytes + b * kByteScales;
  }
};

template <WeightType kType>
struct PanelFormat;
template <>
struct PanelFormat<WeightType::kQ4_0> : PanelFormatOf<4, 0, true, 1, false, 1> {};
template <>
struct PanelFormat<WeightType::kQ4_1> : PanelFormatOf<4, 0, false, 1, true, 1> {};
template <>
struct PanelFormat<WeightType::kQ5_0> : PanelFormatOf<4, 1, true, 1, false, 1> {};
template <>
struct PanelFormat<WeightType::kQ5_1> : PanelFormatOf<4, 1, false, 1, true, 1> {};
template <>
struct PanelFormat<WeightType::kQ8_0> : PanelFormatOf<8, 0, true, 1, false, 1> {};
template <>
struct PanelFormat<WeightType::kQ4K> : PanelFormatOf<4, 0, false, 1, true, 8> {};
template <>
struct PanelFormat<WeightType::kQ5K> : PanelFormatOf<4, 1, false, 1, true, 8> {};
template <>
struct PanelFormat<WeightType::kQ6K> : PanelFormatOf<4, 2, true, 2, false, 8> {};

}  // namespace raptly
