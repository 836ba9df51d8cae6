#include "mask/test_rule.h"

namespace raptly {
namespace {

using mask_testing::error_of;
using mask_testing::picture;

TEST(PackedRule, ASequenceSeesOnlyItself) {
  EXPECT_EQ(picture(mask::packed({0, 2, 3}, {0, 1, 4}), 3, 4), "1... 1... .111");
  EXPECT_EQ(picture(mask::packed({0, 1, 1, 3}), 3, 3), "1.. .11 .11");  // the second one is empty
}

TEST(PackedRule, PositionsAreTheSequencesOwn) {
  // 2 queries over 1 key: the first stands before it. 1 query over 3 keys: at the last.
  EXPECT_EQ(picture(mask::causal() & mask::packed({0, 2, 3}, {0, 1, 4}), 3, 4), ".... 1... .111");
  EXPECT_EQ(picture(mask::window(1, 0) & mask::packed({0, 3, 5}), 5, 5),
            "1.... 11... .11.. ...1. ...11");
}

TEST(PackedRule, RefusesSumsThatFallOrDoNotReachTheEnd) {
  EXPECT_EQ(error_of([] { mask::packed({0, 3, 2}); }),
            "[packed] cu_q[2] is 2 after 3. It must never fall, and be at most 2^48.");
  EXPECT_EQ(error_of([] { picture(mask::packed({0, 2}), 3, 3); }),
            "[packed] cu_q ends with 2, q_len is 3. They must be equal.");
  EXPECT_EQ(error_of([] { picture(mask::packed({0, 3}, {0, 2}), 3, 4); }),
            "[packed] cu_kv ends with 2, kv_len is 4. They must be equal.");
}

}  // namespace
}  // namespace raptly
