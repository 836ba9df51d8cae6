#include "mask/test_rule.h"

namespace raptly {
namespace {

using mask_testing::error_of;
using mask_testing::picture;

TEST(TreeRule, ANodeSeesTheContextItselfAndItsAncestors) {
  EXPECT_EQ(picture(mask::tree({-1, 0, 0, 1}), 4, 5), "11... 111.. 11.1. 111.1");
  EXPECT_EQ(picture(mask::tree({-1, 0, 1}), 3, 5), picture(mask::causal(), 3, 5));  // a chain
  EXPECT_EQ(picture(mask::tree({1, -1}), 2, 2), "11 .1");  // a parent may come later
}

TEST(TreeRule, WithLengthsTheNodesAreTheLastKeysOfTheSequence) {
  const Mask mask = mask::tree({-1, 0, 0}) & mask::lengths({3, 2, 3}, {4, 5, 3});
  EXPECT_EQ(picture(mask, 3, 6, 0), "11.... 111... 11.1..");
  EXPECT_EQ(picture(mask, 3, 6, 1), "1111.. 11111. ......");  // its third node is padding
  EXPECT_EQ(picture(mask, 3, 6, 2), "1..... 11.... 1.1...");
}

TEST(TreeRule, PositionsDoNotMoveTheNodes) {
  EXPECT_EQ(picture(mask::tree({-1, 0, 0}) & mask::positions({9, 9, 9}), 3, 4), "11.. 111. 11.1");
}

TEST(TreeRule, RefusesSequencesWithoutRoomForTheNodes) {
  EXPECT_EQ(
      error_of([] { picture(mask::tree({-1, 0}) & mask::packed({0, 1, 2}, {0, 2, 4}), 2, 4); }),
      "[tree] its nodes are the last keys of one sequence. It does not go with packed; use a batch "
      "with lengths.");
  EXPECT_EQ(error_of([] { picture(mask::tree({-1, 0}) & mask::lengths({2}, {1}), 2, 4); }),
            "[tree] kv_len is 1, parents has 2 entries. The last keys are the nodes of the tree.");
}

TEST(TreeRule, RefusesCyclesAndStrangers) {
  EXPECT_EQ(error_of([] { mask::tree({1, 0}); }),
            "[tree] parents[0] is 1, which leads round in a circle. A tree has no cycles.");
  EXPECT_EQ(error_of([] { mask::tree({-1, 2}); }),
            "[tree] parents[1] is 2. It must be -1 .. 1: a node, or -1 for none.");
  EXPECT_EQ(error_of([] { picture(mask::tree({-1, 0}), 2, 1); }),
            "[tree] kv_len is 1, parents has 2 entries. The last keys are the nodes of the tree.");
}

}  // namespace
}  // namespace raptly
