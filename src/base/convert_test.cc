#include "base/convert.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>
#include <vector>

#include "base/floating_point_mode.h"

namespace raptly {
namespace {

template <class Half>
void check_narrow(Half (*one)(float)) {
  std::mt19937 random(7);
  std::vector<float> in(100003);
  for (float& x : in) x = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
  std::vector<Half> out(in.size());
  const FloatingPointMode mode;  // flush-to-zero, as kernels run
  narrow(in.data(), static_cast<std::int64_t>(in.size()), out.data());
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (std::isnan(in[i])) {
      EXPECT_TRUE(std::isnan(to_float(out[i])));
    } else {
      EXPECT_EQ(out[i].bits, one(in[i]).bits) << in[i];
    }
  }
}
TEST(Convert, F16EqualsTheScalarRounding) { check_narrow<F16>(to_f16); }
TEST(Convert, Bf16EqualsTheScalarRounding) { check_narrow<Bf16>(to_bf16); }

}  // namespace
}  // namespace raptly
