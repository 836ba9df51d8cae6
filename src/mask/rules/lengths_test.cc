#include "mask/test_rule.h"

namespace raptly {
namespace {

using mask_testing::error_of;
using mask_testing::picture;

TEST(LengthsRule, WhatLiesBeyondIsPadding) {
  const Mask mask = mask::lengths({1, 3}, {2, 3});
  EXPECT_EQ(picture(mask, 3, 4, 0), "11.. .... ....");
  EXPECT_EQ(picture(mask, 3, 4, 1), "111. 111. 111.");
}

TEST(LengthsRule, CornersCountFromTheLengths) {
  const Mask mask = mask::causal() & mask::lengths({2, 3}, {4, 3});
  EXPECT_EQ(picture(mask, 3, 4, 0), "111. 1111 ....");
  EXPECT_EQ(picture(mask, 3, 4, 1), "1... 11.. 111.");
}

TEST(LengthsRule, RefusesLengthsBeyondTheTensor) {
  EXPECT_EQ(error_of([] { picture(mask::lengths({4}, {4}), 3, 4); }),
            "[lengths] q_lens[0] is 4, q_len is 3. A length may not exceed the tensor.");
  EXPECT_EQ(error_of([] { mask::lengths({1, -2}, {3, 4}); }),
            "[lengths] q_lens[1] is -2. A length must be 0 or more.");
}

}  // namespace
}  // namespace raptly
