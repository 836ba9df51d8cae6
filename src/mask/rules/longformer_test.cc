#include "mask/test_rule.h"

namespace raptly {
namespace {

using mask_testing::error_of;
using mask_testing::picture;

TEST(LongformerRule, HalfTheWindowOnEachSideAndGlobalTokens) {
  EXPECT_EQ(picture(mask::longformer(2, {0}), 4, 4), "1111 111. 1111 1.11");
  EXPECT_EQ(mask::longformer(2, {0}).to_string(), "window(1, 1) | global_tokens([0])");
  EXPECT_EQ(picture(mask::longformer(2), 3, 3), "11. 111 .11");
}

TEST(LongformerRule, EachHeadMayHaveItsDilation) {
  const Mask mask = mask::longformer(2, {0}, {1, 2});
  EXPECT_EQ(picture(mask, 4, 4, 0, 0), "1111 111. 1111 1.11");
  EXPECT_EQ(picture(mask, 4, 4, 0, 1), "1111 11.1 1.1. 11.1");
}

TEST(LongformerRule, RefusesAnOddWindowAndADilationOfNothing) {
  EXPECT_EQ(error_of([] { mask::longformer(3); }),
            "[longformer] attention_window is 3. It must be even and 0 or more: half of it lies on "
            "each side.");
  EXPECT_EQ(error_of([] { mask::longformer(2, {}, {1, 0}); }),
            "[longformer] dilation[1] is 0. It must be 1 .. 2^48.");
  EXPECT_EQ(error_of([] { mask::longformer(2, {}, {}); }),
            "[longformer] dilation is an empty list. Give one step, or one for each head.");
}

}  // namespace
}  // namespace raptly
