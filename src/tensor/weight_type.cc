#include "tensor/weight_type.h"

#include <cstring>

#include "raptly/dtype.h"

namespace raptly {
namespace {

unsigned byte_at(const std::byte* p, std::int64_t i) { return std::to_integer<unsigned>(p[i]); }
double half_at(const std::byte* p) {
  F16 half;
  std::memcpy(&half.bits, p, 2);
  return static_cast<double>(to_float(half));
}
template <class T>
T value_at(const std::byte* p) {
  T value;
  std::memcpy(&value, p, sizeof(T));
  return value;
}

// 32 values of 4 bits: byte j holds value j (low) and value j + 16 (high).
unsigned nibble(const std::byte* codes, int j) {
  return j < 16 ? byte_at(codes, j) & 15 : byte_at(codes, j - 16) >> 4;
}

// Q4_0: f16 d, 16 bytes.  x = d (q - 8).          Q4_1: f16 d, f16 m, 16 bytes.  x = d q + m.
// Q5_0: f16 d, u32 high bits, 16 bytes. d (q-16). Q5_1: f16 d, f16 m, u32, 16 bytes.  x = d q + m.
double legacy_value(WeightType type, const std::byte* block, int j) {
  const double d = half_at(block);
  const bool has_minimum = type == WeightType::kQ4_1 || type == WeightType::kQ5_1;
  const bool has_fifth = type == WeightType::kQ5_0 || type == WeightType::kQ5_1;
  const std::byte* rest = block + (has_minimum ? 4 : 2);
  unsigned code = nibble(rest + (has_fifth ? 4 : 0), j);
  if (has_fifth) code |= (value_at<std::uint32_t>(rest) >> j & 1) << 4;
  if (has_minimum) return d * code + half_at(block + 2);
  return d * (static_cast<int>(code) - (has_fifth ? 16 : 8));
}

// Six-bit scale j of 8 from the 12 bytes that Q4_K and Q5_K share; minimum: the scale of the
// offset.
unsigned six_bits(const std::byte* scales, int j, bool minimum) {
  if (j < 4) return byte_at(scales, j + (minimum ? 4 : 0)) & 63;
  const unsigned low = byte_at(scales, j + 4);
  return (minimum ? low >> 4 : low & 15) | byte_at(scales, j - (minimum ? 0 : 4)) >> 6 << 4;
}

// f16 d, f16 dmin, 12 bytes of scales, (Q5_K: 32 bytes of fifth bits,) 128 bytes of nibbles.
double k45_value(WeightType type, const std::byte* block, int i) {
  const int sub = i / 32, j = i % 32;
  const bool has_fifth = type == WeightType::kQ5K;
  const std::byte* codes = block + (has_fifth ? 48 : 16);
  unsigned code = byte_at(codes, sub / 2 * 32 + j) >> (sub % 2 * 4) & 15;
  if (has_fifth) code |= (byte_at(block + 16, j) >> sub & 1) << 4;
  return half_at(block) * six_bits(block + 4, sub, false) * code -
         half_at(block + 2) * six_bits(block + 4, sub, true);
}

// 128 bytes of low nibbles, 64 bytes of upper pairs, 16 int8 scales, f16 d.  x = d scale (q - 32).
double q6k_value(const std::byte* block, int i) {
  const int half = i / 128, quarter = i / 32 % 4, j = i % 32;
  const unsigned low = byte_at(block, half * 64 + quarter % 2 * 32 + j) >> (quarter / 2 * 4) & 15;
  const unsigned high = byte_at(block, 128 + half * 32 + j) >> (quarter * 2) & 3;
  const int scale = value_at<std::int8_t>(block + 192 + i / 16);
  return half_at(block + 208) * scale * (static_cast<int>(low | high << 4) - 32);
}

double value_of(WeightType type, const std::byte* block, int i) {
  switch (type) {
    case WeightType::kF32:
      return static_cast<double>(value_at<float>(block));
    case WeightType::kF16:
      return half_at(block);
    case WeightType::kBf16:
      return static_cast<double>(to_float(value_at<Bf16>(block)));
    case WeightType::kQ8_0:
      return half_at(block) * value_at<std::int8_t>(block + 2 + i);
    case WeightType::kQ4K:
    case WeightType::kQ5K:
      return k45_value(type, block, i);
    case WeightType::kQ6K:
      return q6k_value(block, i);
    case WeightType::kQ4_0:
    case WeightType::kQ4_1:
    case WeightType::kQ5_0:
    case WeightType::kQ5_1:
      return legacy_value(type, block, i);
  }
  return 0;
}

}  // namespace

const WeightTypeInfo& weight_type_info(WeightType type) {
  static constexpr WeightTypeInfo kInfo[kWeightTypeCount] = {
      {"F32", 1, 4},      {"F16", 1, 2},      {"BF16", 1, 2},     {"Q4_0", 32, 18},
      {"Q4_1", 32, 20},   {"Q5_0", 32, 22},   {"Q5_1", 32, 24},   {"Q8_0", 32, 34},
      {"Q4_K", 256, 144}, {"Q5_K", 256, 176}, {"Q6_K", 256, 210},
  };
  return kInfo[static_cast<int>(type)];
}

void dequantize(WeightType type, const std::byte* blocks, std::int64_t n, double* out) {
  const WeightTypeInfo& info = weight_type_info(type);
  for (std::int64_t i = 0; i < n; ++i) {
    const std::byte* block = blocks + i / info.block_elements * info.block_bytes;
    out[i] = value_of(type, block, static_cast<int>(i % info.block_elements));
  }
}

}  // namespace raptly
