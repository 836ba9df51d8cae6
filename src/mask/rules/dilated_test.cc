#include "mask/test_rule.h"

namespace raptly {
namespace {

using mask_testing::error_of;
using mask_testing::picture;

TEST(DilatedRule, IsAWindowWithGaps) {
  EXPECT_EQ(picture(mask::dilated(1, 2), 5, 5), "1.1.. .1.1. 1.1.1 .1.1. ..1.1");
  EXPECT_EQ(picture(mask::dilated(2, 1), 5, 5), picture(mask::window(2, 2), 5, 5));
  EXPECT_EQ(picture(mask::dilated(3, 100), 3, 3), "1.. .1. ..1");
}

TEST(DilatedRule, EachHeadMayHaveItsStep) {
  const Mask mask = mask::dilated(1, {1, 2});
  EXPECT_EQ(picture(mask, 3, 3, 0, 0), "11. 111 .11");
  EXPECT_EQ(picture(mask, 3, 3, 0, 1), "1.1 .1. 1.1");
  EXPECT_EQ(error_of([&] { picture(mask, 3, 3, 0, 2); }),
            "[dilated] there are lists for 2 heads, but head 2 was asked for. Give one for each "
            "head.");
}

TEST(DilatedRule, RefusesStepsAndCountsBelowTheLeast) {
  EXPECT_EQ(error_of([] { mask::dilated(1, 0); }), "[dilated] step is 0. It must be 1 .. 2^60.");
  EXPECT_EQ(error_of([] { mask::dilated(-1, 1); }),
            "[dilated] window is -1. It must be 0 or more: it counts the keys on each side.");
  EXPECT_EQ(error_of([] { mask::dilated(1, std::vector<std::int64_t>{}); }),
            "[dilated] step is an empty list. Give one step, or one for each head.");
}

}  // namespace
}  // namespace raptly
