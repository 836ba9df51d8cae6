// Items 1 and 2 of the semantics list: which corner.
#include "mask/test_rule.h"

namespace raptly {
namespace {

using mask_testing::error_of;
using mask_testing::picture;

TEST(CausalRule, TheBottomRightCornerStandsAtTheLastKey) {
  EXPECT_EQ(picture(mask::causal(), 3, 5), "111.. 1111. 11111");
  EXPECT_EQ(picture(mask::causal(), 4, 2), ".. .. 1. 11");  // rows before the first key see nothing
}

TEST(CausalRule, TheTopLeftCornerStandsAtTheFirstKey) {
  const Mask mask = mask::causal(mask::Corner::kTopLeft);
  EXPECT_EQ(picture(mask, 3, 5), "1.... 11... 111..");
  EXPECT_EQ(picture(mask, 4, 2), "1. 11 11 11");
  // In a packed batch each sequence has a corner of its own.
  EXPECT_EQ(picture(mask & mask::packed({0, 2, 3}, {0, 1, 4}), 3, 4), "1... 1... .1..");
}

TEST(CausalRule, RefusesAnUnknownCorner) {
  EXPECT_NE(error_of([] { Mask::parse("causal(corner=\"top\")"); }).find("corner"),
            std::string::npos);
}

}  // namespace
}  // namespace raptly
