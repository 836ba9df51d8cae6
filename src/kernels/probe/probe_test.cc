#include "kernels/probe/probe.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <vector>

namespace raptly {
namespace {

TEST(Probe, WiderLevelsAreNotSlower) {
  if (std::getenv("RAPTLY_EMULATED")) GTEST_SKIP() << "an emulator's speed says nothing";
  double before = 0;
  for (const Isa isa : supported_isas()) {
    const double peak = fma_peak_gflops(isa);
    EXPECT_GT(peak, 0) << isa_name(isa);
    EXPECT_LT(peak, 10000) << isa_name(isa);
    EXPECT_GT(peak, before / 2) << isa_name(isa);  // half: the machine is shared
    before = peak;
  }
}

TEST(Probe, Bf16DotsAreMeasuredAtTheirLevel) {
  for (const Isa isa : supported_isas()) {
    const double peak = bf16_dot_peak_gflops(isa);
    EXPECT_EQ(peak > 0, isa == Isa::kAvx512Bf16) << isa_name(isa);
    EXPECT_LT(peak, 10000);
  }
}

// The value returned is a lane of sums of every float: with one value everywhere it tells how many
// were read.
TEST(Probe, ReadsEveryByte) {
  const std::vector<float> ones(64 * 100, 1.0f);
  for (const Isa isa : supported_isas()) {
    const float all =
        read_memory(reinterpret_cast<const std::byte*>(ones.data()), ones.size() * 4, isa);
    const float half =
        read_memory(reinterpret_cast<const std::byte*>(ones.data()), ones.size() * 2, isa);
    EXPECT_GT(all, 0);
    EXPECT_EQ(all, 2 * half);
  }
}

}  // namespace
}  // namespace raptly
