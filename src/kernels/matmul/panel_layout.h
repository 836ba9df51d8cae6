// Geometry of packed panels (README.md draws them). A panel is 16 outputs; lane o of every 64-byte
// vector belongs to output o. Scales lie just before the blocks they belong to, so a walk over a
// panel reads memory in order without a gap: with the scales behind the payload, hardware prefetch
// lost the stream and a core read 14 GB/s where it reads 32 now (Zen 4).
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
  // A unit: a 64-byte line of scales and the payload of its kUnit blocks. 32 bytes of scales a
  // block (16 f16 d; with kSuper > 1: 2 x 16 bytes), or 64 (16 f16 d, 16 f16 m).
  static constexpr int kUnit = kSuper == 1 && kMin ? 1 : 2;
  static constexpr int kUnitBytes = 64 + kUnit * kPayloadBytes;
  // A super-block: a line of 16 f16 d (, 16 f16 m) and its units.
  static constexpr int kSuperBytes = 64 + kSuper / kUnit * kUnitBytes;

  static constexpr std::int64_t panel_bytes(std::int64_t blocks) {
    return kSuper == 1 ? (blocks + kUnit - 1) / kUnit * kUnitBytes : blocks / kSuper * kSuperBytes;
  }
  // Offsets in a panel of what belongs to block b: its unit, its planes, its own scales (16 bytes
  // for each step, or scale and minimum), its f16 scales (followed by the minima).
  static constexpr std::int64_t unit_offset(std::int64_t b) {
    const auto at = static_cast<std::uint64_t>(b);
    return static_cast<std::int64_t>(kSuper == 1 ? at / kUnit * kUnitBytes
                                                 : at / kSuper * kSuperBytes + 64 +
                                                       at % kSuper / kUnit * kUnitBytes);
  }
  static constexpr std::int64_t planes_offset(std::int64_t b) {
    return unit_offset(b) + 64 + static_cast<std::uint64_t>(b) % kUnit * kPayloadBytes;
  }
  static constexpr std::int64_t scales_offset(std::int64_t b) {
    return unit_offset(b) + static_cast<std::uint64_t>(b) % kUnit * 32;
  }
  static constexpr std::int64_t f16_offset(std::int64_t b) {
    return kSuper == 1 ? scales_offset(b) : static_cast<std::uint64_t>(b) / kSuper * kSuperBytes;
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
