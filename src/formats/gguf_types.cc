#include "formats/gguf_types.h"

#include <utility>

namespace raptly {
namespace {

constexpr std::pair<std::uint32_t, WeightType> kTypes[] = {
    {0, WeightType::kF32},  {1, WeightType::kF16},  {2, WeightType::kQ4_0},  {3, WeightType::kQ4_1},
    {6, WeightType::kQ5_0}, {7, WeightType::kQ5_1}, {8, WeightType::kQ8_0},  {12, WeightType::kQ4K},
    {13, WeightType::kQ5K}, {14, WeightType::kQ6K}, {30, WeightType::kBf16},
};
// Types that exist and are not read; an error names them.
constexpr std::pair<std::uint32_t, const char*> kOthers[] = {
    {9, "Q8_1"},     {10, "Q2_K"},  {11, "Q3_K"},   {15, "Q8_K"},  {16, "IQ2_XXS"}, {17, "IQ2_XS"},
    {18, "IQ3_XXS"}, {19, "IQ1_S"}, {20, "IQ4_NL"}, {21, "IQ3_S"}, {22, "IQ2_S"},   {23, "IQ4_XS"},
    {24, "I8"},      {25, "I16"},   {26, "I32"},    {27, "I64"},   {28, "F64"},     {29, "IQ1_M"},
    {34, "TQ1_0"},   {35, "TQ2_0"}, {39, "MXFP4"},
};

}  // namespace

std::optional<WeightType> weight_type_of_ggml(std::uint32_t type) {
  for (const auto& [number, weight] : kTypes) {
    if (number == type) return weight;
  }
  return std::nullopt;
}

std::uint32_t ggml_type_of(WeightType type) {
  for (const auto& [number, weight] : kTypes) {
    if (weight == type) return number;
  }
  return 0;
}

std::string ggml_type_name(std::uint32_t type) {
  if (const auto known = weight_type_of_ggml(type)) return weight_type_info(*known).name;
  for (const auto& [number, name] : kOthers) {
    if (number == type) return name;
  }
  return "unknown";
}

}  // namespace raptly
