#include "mask/test_rule.h"

namespace raptly {
namespace {

using mask_testing::error_of;
using mask_testing::picture;

using mask::BlockList;

TEST(BlocksRule, AQueryBlockSeesItsList) {
  EXPECT_EQ(picture(mask::blocks(2, BlockList{{0}, {1, 0}}), 4, 3), "11. 11. 111 111");
  EXPECT_EQ(picture(mask::blocks(2, BlockList{{}, {1}}), 3, 3), "... ... ..1");
}

TEST(BlocksRule, PartialBlocksAskAMask) {
  const Mask mask = mask::blocks(2, {BlockList{{}, {0}}}, {BlockList{{0}, {1}}}, mask::causal());
  EXPECT_EQ(picture(mask, 4, 4), picture(mask::causal(), 4, 4));
}

TEST(BlocksRule, EachHeadMayHaveItsLists) {
  const Mask mask = mask::blocks(2, std::vector<BlockList>{{{0}}, {{1}}});
  EXPECT_EQ(picture(mask, 2, 4, 0, 0), "11.. 11..");
  EXPECT_EQ(picture(mask, 2, 4, 0, 1), "..11 ..11");
}

TEST(BlocksRule, RefusesListsThatDoNotFit) {
  EXPECT_EQ(error_of([] { picture(mask::blocks(2, BlockList{{0}}), 3, 3); }),
            "[blocks] lists has 1 entries, the number of query blocks is 2. They must be equal.");
  EXPECT_EQ(error_of([] { picture(mask::blocks(2, BlockList{{2}}), 2, 3); }),
            "[blocks] lists[0] holds key block 2, but kv_len 3 has 2 blocks of 2.");
  EXPECT_EQ(error_of([] { mask::blocks(2, BlockList{{1, 1}}); }),
            "[blocks] lists[0] holds key block 1 twice. Each may be listed once.");
  EXPECT_EQ(error_of([] { mask::blocks(0, BlockList{{0}}); }),
            "[blocks] block_size is 0. It must be 1 .. 2^48.");
}

}  // namespace
}  // namespace raptly
