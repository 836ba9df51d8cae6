#include "mask/test_rule.h"

namespace raptly {
namespace {

using mask_testing::error_of;
using mask_testing::picture;

TEST(PositionsRule, MovesTheOtherRules) {
  EXPECT_EQ(picture(mask::causal() & mask::positions({5, 0}, mask::PerBatch{4, 5, 6}), 2, 3),
            "11. ...");
  EXPECT_EQ(picture(mask::causal() & mask::positions({2, 0}), 2, 3), "111 1..");
  EXPECT_EQ(picture(mask::positions({2, 0}), 2, 3), "111 111");  // alone it sees all
}

TEST(PositionsRule, RefusesOtherSizesAndASecondPlace) {
  EXPECT_EQ(error_of([] { picture(mask::positions({1, 2}), 3, 3); }),
            "[positions] q_positions has 2 entries, q_len is 3. They must be equal.");
  EXPECT_EQ(error_of([] { mask::positions({1}) & mask::packed({0, 1}); }),
            "[mask] both sides of & say where tokens stand. Only one of lengths, packed and "
            "positions may be given.");
}

}  // namespace
}  // namespace raptly
