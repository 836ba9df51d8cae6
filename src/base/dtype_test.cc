#include "raptly/dtype.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

namespace raptly {
namespace {

TEST(Dtype, EveryF16SurvivesTheRoundTrip) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const F16 half{static_cast<std::uint16_t>(bits)};
    const float wide = to_float(half);
    if (std::isnan(wide)) {
      EXPECT_TRUE(std::isnan(to_float(to_f16(wide))));
    } else {
      EXPECT_EQ(to_f16(wide).bits, bits);
    }
  }
}

TEST(Dtype, EveryBf16SurvivesTheRoundTrip) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const float wide = to_float(Bf16{static_cast<std::uint16_t>(bits)});
    if (std::isnan(wide)) {
      EXPECT_TRUE(std::isnan(to_float(to_bf16(wide))));
    } else {
      EXPECT_EQ(to_bf16(wide).bits, bits);
    }
  }
}

// Between neighbours a and b: below the middle gives a, above gives b, the middle the even one.
template <class Half>
void check_rounding(Half (*narrow)(float), std::uint16_t first, std::uint16_t last) {
  for (std::uint32_t bits = first; bits < last; ++bits) {
    const float a = to_float(Half{static_cast<std::uint16_t>(bits)});
    const float b = to_float(Half{static_cast<std::uint16_t>(bits + 1)});
    const float middle = a + (b - a) / 2;
    EXPECT_EQ(narrow(std::nextafter(middle, 0.0f)).bits, bits);
    EXPECT_EQ(narrow(std::nextafter(middle, INFINITY)).bits, bits + 1);
    EXPECT_EQ(narrow(middle).bits, bits + (bits & 1));
  }
}
TEST(Dtype, F16RoundsToNearestEven) { check_rounding<F16>(to_f16, 0, 0x7bff); }
TEST(Dtype, Bf16RoundsToNearestEven) { check_rounding<Bf16>(to_bf16, 0x80, 0x7f7f); }

TEST(Dtype, OverflowGoesToInfinityAndSignsStay) {
  EXPECT_EQ(to_f16(65519.0f).bits, 0x7bff);
  EXPECT_EQ(to_f16(65520.0f).bits, 0x7c00);
  EXPECT_EQ(to_f16(-1e9f).bits, 0xfc00);
  EXPECT_EQ(to_f16(-0.0f).bits, 0x8000);
  EXPECT_EQ(to_bf16(std::numeric_limits<float>::max()).bits, 0x7f80);
  EXPECT_EQ(to_bf16(-0.0f).bits, 0x8000);
  EXPECT_STREQ(dtype_name(DType::kBf16), "bf16");
}

}  // namespace
}  // namespace raptly
