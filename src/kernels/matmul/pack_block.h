// Repacks one row's blocks of a GGUF format into its lane of a panel (panel_layout.h), and reads
// them back. Plain 64-bit arithmetic: 8 bytes at once, several GB/s, the same on every machine.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/matmul/lane_reader.h"
#include "kernels/matmul/panel_layout.h"

namespace raptly {

static_assert(std::endian::native == std::endian::little);

// The even and the odd ones of 8 codes, a byte each, below 2^kBits: fields of the low and the high
// half of a lane. The product shifts code j from bit 16 j to bit 48 + kBits j; no two terms meet.
template <int kBits>
constexpr std::uint32_t gather_pairs(std::uint64_t codes) {
  constexpr std::uint64_t kMask = 0x0001000100010001u * ((1u << kBits) - 1);
  constexpr std::uint64_t kMove = std::uint64_t{1} << 48 | std::uint64_t{1} << (32 + kBits) |
                                  std::uint64_t{1} << (16 + 2 * kBits) |
                                  std::uint64_t{1} << (3 * kBits);
  const std::uint64_t even = (codes & kMask) * kMove >> 48;
  const std::uint64_t odd = (codes >> 8 & kMask) * kMove >> 48;
  constexpr std::uint32_t kKeep = (1u << 4 * kBits) - 1;
  return (static_cast<std::uint32_t>(even) & kKeep) | (static_cast<std::uint32_t>(odd) & kKeep)
                                                          << 16;
}

// The 32 codes of a block as one row has them in its file.
struct BlockCodes {
  std::uint64_t low[4];   // a byte a code, the low 4 bits
  std::uint64_t high[4];  // likewise the 1 or 2 bits above
};

constexpr std::uint64_t kNibbles = 0x0f0f0f0f0f0f0f0fu;

// Bit e of `bits` to bit 0 of byte e.
constexpr std::uint64_t spread_bits(std::uint8_t bits) {
  const std::uint64_t copies = bits * 0x0101010101010101u & 0x8040201008040201u;
  return (copies + 0x7f7f7f7f7f7f7f7fu) >> 7 & 0x0101010101010101u;
}

// Codes of the formats whose blocks of 32 stand alone. nibbles: 16 bytes, codes 0..15 low, 16..31
// high.
inline void split_nibbles(const std::byte* nibbles, BlockCodes& codes) {
  for (int i = 0; i < 2; ++i) {
    const auto x = read_as<std::uint64_t>(nibbles + 8 * i);
    codes.low[i] = x & kNibbles;
    codes.low[2 + i] = x >> 4 & kNibbles;
  }
}

template <WeightType kType>
void block_codes(const std::byte* file, int b, BlockCodes& codes) {
  constexpr bool kQ5Kind = kType == WeightType::kQ5_0 || kType == WeightType::kQ5_1;
  if constexpr (kType == WeightType::kQ4_0 || kType == WeightType::kQ4_1) {
    split_nibbles(file + (kType == WeightType::kQ4_0 ? 2 : 4), codes);
  } else if constexpr (kQ5Kind) {
    const std::byte* bits = file + (kType == WeightType::kQ5_0 ? 2 : 4);
    split_nibbles(bits + 4, codes);
    for (int i = 0; i < 4; ++i) codes.high[i] = spread_bits(read_as<std::uint8_t>(bits + i));
  } else if constexpr (kType == WeightType::kQ4K || kType == WeightType::kQ5K) {
    // 32 bytes hold block 2 j in their low nibbles, 2 j + 1 in the high ones; byte l of the high
    // bits has one bit for code l of each block.
    constexpr bool kFive = kType == WeightType::kQ5K;
    const std::byte* nibbles = file + (kFive ? 48 : 16) + b / 2 * 32;
    for (int i = 0; i < 4; ++i) {
      codes.low[i] = read_as<std::uint64_t>(nibbles + 8 * i) >> (b % 2 * 4) & kNibbles;
      if (kFive) {
        codes.high[i] = read_as<std::uint64_t>(file + 16 + 8 * i) >> b & 0x0101010101010101u;
      }
    }
  } else if constexpr (kType == WeightType::kQ6K) {
    const int half = b / 4, quarter = b % 4;
    const std::byte* nibbles = file + half * 64 + quarter % 2 * 32;
    for (int i = 0; i < 4; ++i) {
      codes.low[i] = read_as<std::uint64_t>(nibbles + 8 * i) >> (quarter / 2 * 4) & kNibbles;
      codes.high[i] = read_as<std::uint64_t>(file + 128 + half * 32 + 8 * i) >> (2 * quarter) &
                      0x0303030303030303u;
    }
  }
}

inline void put_lane(std::byte* vector, int lane, std::uint32_t word) {
  std::memcpy(vector + lane * 4, &word, sizeof(word));
}

template <WeightType kType>
void pack_codes(const std::byte* file, int b, std::byte* planes, int lane) {
  using Format = PanelFormat<kType>;
  if constexpr (Format::kLowBits == 8) {
    for (int v = 0; v < 8; ++v) {  // bytes 0 and 2 to the low half, 1 and 3 to the high
      const auto x = read_as<std::uint32_t>(file + 2 + 4 * v);
      put_lane(planes + v * 64, lane, (x & 0xff0000ffu) | (x >> 8 & 0xff00u) | (x & 0xff00u) << 8);
    }
  } else {
    constexpr int kHigh = Format::kHighBits;
    // Signed: 2^(bits - 1) less is the top bit flipped, in two's complement.
    constexpr std::uint64_t kFlip = Format::kSigned ? 0x0101010101010101u : 0;
    BlockCodes codes;
    block_codes<kType>(file, b, codes);
    for (int v = 0; v < 4; ++v) {
      put_lane(planes + v * 64, lane, gather_pairs<4>(codes.low[v] ^ (kHigh == 0 ? kFlip * 8 : 0)));
    }
    if constexpr (kHigh > 0) {
      constexpr int kEach = kHigh * 4;  // bits that 8 codes fill in a half
      std::uint32_t word[kHigh] = {};
      for (int v = 0; v < 4; ++v) {
        const std::uint32_t part = gather_pairs<kHigh>(codes.high[v] ^ kFlip * kHigh);
        word[v * kHigh / 4] |= part << v * kEach % 16;
      }
      for (int v = 0; v < kHigh; ++v) put_lane(planes + 256 + v * 64, lane, word[v]);
    }
  }
}

// The 6-bit scale (which = 0) or minimum (1) of block b in the 12 bytes of Q4_K and Q5_K.
inline std::uint8_t six_bit_scale(const std::byte* packed, int b, int which) {
  const auto at = [&](int i) { return read_as<std::uint8_t>(packed + i); };
  if (b < 4) return at(b + 4 * which) & 63;
  const int low = which == 0 ? at(b + 4) & 15 : at(b + 4) >> 4;
  return static_cast<std::uint8_t>(low | at(b - 4 + 4 * which) >> 6 << 4);
}

inline void put_f16(std::byte* to, int lane, std::uint16_t bits) {
  std::memcpy(to + lane * 2, &bits, sizeof(bits));
}

template <WeightType kType>
void pack_scales(const std::byte* file, std::int64_t b, std::byte* panel, int lane) {
  using Format = PanelFormat<kType>;
  std::byte* f16 = panel + Format::f16_offset(b);
  std::byte* small = panel + Format::scales_offset(b) + lane;
  const int in_super = static_cast<int>(b % Format::kSuper);
  if constexpr (Format::kSuper == 1) {
    put_f16(f16, lane, read_as<std::uint16_t>(file));
    if constexpr (Format::kMin) put_f16(f16 + 32, lane, read_as<std::uint16_t>(file + 2));
  } else if constexpr (kType == WeightType::kQ6K) {
    small[0] = file[192 + 2 * in_super];
    small[16] = file[193 + 2 * in_super];
    put_f16(f16, lane, read_as<std::uint16_t>(file + 208));
    put_f16(f16 + 32, lane, 0);  // nothing reads it; all of memory is defined
  } else {
    small[0] = std::byte{six_bit_scale(file + 4, in_super, 0)};
    small[16] = std::byte{six_bit_scale(file + 4, in_super, 1)};
    put_f16(f16, lane, read_as<std::uint16_t>(file));
    put_f16(f16 + 32, lane,
            read_as<std::uint16_t>(file + 2) ^ 0x8000u);  // the minimum is subtracted
  }
}

}  // namespace raptly
