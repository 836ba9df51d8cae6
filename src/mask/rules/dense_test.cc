#include "mask/test_rule.h"

namespace raptly {
namespace {

using mask_testing::error_of;
using mask_testing::picture;

TEST(DenseRule, SeesTheGivenPairs) {
  const std::uint8_t pairs[] = {1, 0, 0, 255};
  EXPECT_EQ(picture(mask::dense(pairs, {1, 1, 2, 2}), 2, 2), "1. .1");
}

TEST(DenseRule, ASizeOfOneStandsForAll) {
  const std::uint8_t keys[] = {1, 0};
  EXPECT_EQ(picture(mask::dense(keys, {1, 1, 1, 2}), 3, 2), "1. 1. 1.");
  EXPECT_EQ(picture(mask::dense(keys, {1, 1, 2, 1}), 2, 3), "111 ...");
  const Mask heads = mask::dense(keys, {1, 2, 1, 1});
  EXPECT_EQ(picture(heads, 1, 2, 5, 0), "11");
  EXPECT_EQ(picture(heads, 1, 2, 5, 1), "..");
}

TEST(DenseRule, RefusesOtherSizes) {
  const std::uint8_t pairs[] = {1, 0, 0, 1};
  EXPECT_EQ(error_of([&] { mask::dense(pairs, {1, 1, 2, 3}); }),
            "[dense] seen has 4 entries, its shape needs 6.");
  EXPECT_NE(error_of([&] { picture(mask::dense(pairs, {1, 1, 2, 2}), 3, 2); }).find("q_len"),
            std::string::npos);
}

}  // namespace
}  // namespace raptly
