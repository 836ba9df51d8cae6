#include "mask/test_rule.h"

namespace raptly {
namespace {

using mask_testing::error_of;
using mask_testing::picture;

TEST(PaddingRule, EitherSideMayBePadded) {
  EXPECT_EQ(picture(mask::padding({1, 1, 0}), 2, 3), "11. 11.");
  EXPECT_EQ(picture(mask::padding({0, 1, 1}) & mask::causal(), 3, 3), "... .1. .11");
}

TEST(PaddingRule, BatchEntriesDiffer) {
  const Mask mask = mask::padding(std::vector<std::vector<std::int64_t>>{{1, 0}, {0, 1}});
  EXPECT_EQ(picture(mask, 1, 2, 0), "1.");
  EXPECT_EQ(picture(mask, 1, 2, 1), ".1");
}

TEST(PaddingRule, RefusesWhatIsNotAKeepMatrix) {
  EXPECT_EQ(error_of([] { mask::padding({1, 2}); }), "[padding] keep[1] is 2. It must be 0 .. 1.");
  EXPECT_EQ(error_of([] { picture(mask::padding({1, 1}), 2, 3); }),
            "[padding] keep has 2 entries, kv_len is 3. They must be equal.");
}

}  // namespace
}  // namespace raptly
