// Weights for tests and benchmarks: random codes, f16 scales of either sign between 2^-9 and 2^-5
// (every 16th is subnormal), so that values stay near 1 and every field of a block matters.
#pragma once

#include <cstring>
#include <random>
#include <vector>

#include "tensor/weight_type.h"

namespace raptly {

// File bytes of n elements; the same on every machine.
inline std::vector<std::byte> random_weights(WeightType type, std::int64_t n, unsigned seed) {
  const WeightTypeInfo& info = weight_type_info(type);
  std::vector<std::byte> file(static_cast<std::size_t>(n / info.block_elements * info.block_bytes));
  std::mt19937 random(seed);
  for (std::byte& b : file) b = static_cast<std::byte>(random() >> 24);
  const auto put = [&](std::size_t at, unsigned low_exponent) {
    const auto bits = static_cast<unsigned>(random());
    const unsigned exponent = (bits >> 16) % 16 == 0 ? 0 : low_exponent + (bits >> 20) % 4;
    const auto half =
        static_cast<std::uint16_t>((bits & 0x8000u) | exponent << 10 | (bits & 0x3ffu));
    std::memcpy(&file[at], &half, sizeof(half));
  };
  for (std::size_t i = 0; i < file.size(); i += static_cast<std::size_t>(info.block_bytes)) {
    switch (type) {
      case WeightType::kF32: {  // 2^-4 .. 1, either sign
        const auto bits = static_cast<std::uint32_t>(random());
        const std::uint32_t word = (bits & 0x807fffffu) | (123u + (bits >> 24 & 3u)) << 23;
        std::memcpy(&file[i], &word, sizeof(word));
        break;
      }
      case WeightType::kF16:
        put(i, 11);
        break;
      case WeightType::kBf16:
        file[i + 1] = (file[i + 1] & std::byte{0x80}) | std::byte{0x3e};
        break;
      case WeightType::kQ4_0:
      case WeightType::kQ5_0:
      case WeightType::kQ8_0:
        put(i, 6);
        break;
      case WeightType::kQ4_1:
      case WeightType::kQ5_1:
        put(i, 6), put(i + 2, 10);
        break;
      case WeightType::kQ4K:
      case WeightType::kQ5K:
        put(i, 4), put(i + 2, 4);
        break;
      case WeightType::kQ6K:
        put(i + 208, 3);
        break;
    }
  }
  return file;
}

}  // namespace raptly
