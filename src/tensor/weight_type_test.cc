#include "tensor/weight_type.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace raptly {
namespace {

WeightType type_named(const std::string& name) {
  for (int t = 0; t < kWeightTypeCount; ++t) {
    if (name == weight_type_info(static_cast<WeightType>(t)).name)
      return static_cast<WeightType>(t);
  }
  ADD_FAILURE() << "no type " << name;
  return WeightType::kF32;
}

std::vector<std::byte> from_hex(const std::string& hex) {
  std::vector<std::byte> bytes;
  for (std::size_t i = 0; i < hex.size(); i += 2) {
    bytes.push_back(static_cast<std::byte>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

// Goldens made by the gguf package (tools/make_weight_goldens.py), which computes in f32.
TEST(WeightType, DequantizeAgreesWithGguf) {
  std::ifstream file(RAPTLY_SOURCE_DIR "/src/tensor/testdata/weight_types.txt");
  std::string line;
  int types = 0;
  while (std::getline(file, line)) {
    std::istringstream words(line);
    std::string name, hex;
    words >> name >> hex;
    const WeightType type = type_named(name);
    const std::vector<std::byte> blocks = from_hex(hex);
    const WeightTypeInfo& info = weight_type_info(type);
    ASSERT_EQ(blocks.size(), 2u * static_cast<std::size_t>(info.block_bytes));
    std::vector<double> values(2 * static_cast<std::size_t>(info.block_elements));
    dequantize(type, blocks.data(), static_cast<std::int64_t>(values.size()), values.data());
    for (const double value : values) {
      double expected = 0;
      ASSERT_TRUE(words >> expected);
      EXPECT_NEAR(value, expected, 3e-7 * (1 + std::fabs(expected))) << name;
    }
    ++types;
  }
  EXPECT_EQ(types, 10);
}

TEST(WeightType, F32IsItself) {
  const float in[3] = {1.5f, -0.0f, 3e38f};
  double out[3];
  dequantize(WeightType::kF32, reinterpret_cast<const std::byte*>(in), 3, out);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(out[i], static_cast<double>(in[i]));
}

}  // namespace
}  // namespace raptly
