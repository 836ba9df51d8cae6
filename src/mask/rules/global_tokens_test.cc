#include "mask/test_rule.h"

namespace raptly {
namespace {

using mask_testing::error_of;
using mask_testing::picture;

TEST(GlobalTokensRule, SeesAllAndIsSeenByAll) {
  EXPECT_EQ(picture(mask::global_tokens({1}), 3, 3), ".1. 111 .1.");
  EXPECT_EQ(picture(mask::global_tokens({1, 1, 0}), 3, 3), "111 111 11.");  // once is enough
  EXPECT_EQ(picture(mask::global_tokens({9}), 2, 2), ".. ..");              // beyond the sequence
}

TEST(GlobalTokensRule, BatchEntriesHaveTokensOfTheirOwn) {
  const Mask mask = mask::global_tokens({{0, 1}, {2, 2}});
  EXPECT_EQ(mask.rule()->batch(), 2);
  EXPECT_EQ(picture(mask, 1, 4, 0), "11..");
  EXPECT_EQ(picture(mask, 1, 4, 1), "..1.");
}

TEST(GlobalTokensRule, CountsPositionsNotRows) {
  EXPECT_EQ(picture(mask::global_tokens({2}), 2, 4), "1111 ..1.");
}

TEST(GlobalTokensRule, RefusesNegativePositions) {
  EXPECT_EQ(error_of([] { mask::global_tokens({0, -1}); }),
            "[global_tokens] positions[1] is -1. It must be 0 .. 2^48.");
}

}  // namespace
}  // namespace raptly
