#include "mask/test_rule.h"

namespace raptly {
namespace {

using mask_testing::error_of;
using mask_testing::picture;

TEST(PrefixRule, ThePrefixIsSeenByAll) {
  EXPECT_EQ(picture(mask::prefix(2), 4, 4), "11.. 11.. 111. 1111");
  EXPECT_EQ(picture(mask::prefix(0), 3, 3), picture(mask::causal(), 3, 3));
  EXPECT_EQ(picture(mask::prefix(9), 2, 3), "111 111");
}

TEST(PrefixRule, RefusesANegativeLength) {
  EXPECT_EQ(error_of([] { mask::prefix(-1); }), "[prefix] n is -1. It must be 0 or more.");
}

}  // namespace
}  // namespace raptly
