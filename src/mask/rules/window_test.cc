// Items 3 and 5 of the semantics list: what a window counts.
#include "mask/test_rule.h"

namespace raptly {
namespace {

using mask_testing::error_of;
using mask_testing::picture;

TEST(WindowRule, CountsBothEnds) {
  EXPECT_EQ(picture(mask::window(1, 1), 4, 4), "11.. 111. .111 ..11");
  EXPECT_EQ(picture(mask::window(0, 0), 2, 4), "..1. ...1");
}

TEST(WindowRule, NoneIsNoBound) {
  EXPECT_EQ(picture(mask::window(std::nullopt, 0), 3, 4), picture(mask::causal(), 3, 4));
  EXPECT_EQ(picture(mask::window(std::nullopt, std::nullopt), 2, 2), "11 11");
}

TEST(WindowRule, MistralCountsTheQueryItself) {
  EXPECT_EQ(picture(mask::mistral(2), 4, 4), "1... 11.. .11. ..11");
}

TEST(WindowRule, HfBidirectionalCountsEachSide) {
  EXPECT_EQ(picture(mask::hf_bidirectional(1), 4, 4), "11.. 111. .111 ..11");
}

TEST(WindowRule, RefusesNegativeCounts) {
  EXPECT_EQ(error_of([] { mask::window(0, -1); }),
            "[window] right is -1. It must be 0 or more; use None for no bound.");
  EXPECT_EQ(
      error_of([] { mask::hf_bidirectional(-1); }),
      "[hf_bidirectional] size is -1. It must be 0 or more: it counts the keys on each side.");
}

}  // namespace
}  // namespace raptly
