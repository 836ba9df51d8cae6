#include "mask/test_rule.h"

namespace raptly {
namespace {

using mask_testing::error_of;
using mask_testing::picture;

using mask::BigBirdLayout;
using mask::BigBirdOptions;

TEST(BigBirdRule, ItcSeesNeighboursAndTheFirstAndLastBlock) {
  EXPECT_EQ(picture(mask::bigbird(1, 0, 0), 6, 6), "111111 111..1 1111.1 1.1111 1..111 111111");
}

TEST(BigBirdRule, EtcHasGlobalTokensInFront) {
  BigBirdOptions options;
  options.block_size = 1;
  options.num_random_blocks = 0;
  options.layout = BigBirdLayout::kEtc;
  options.num_global_tokens = 1;
  EXPECT_EQ(picture(mask::bigbird(options), 4, 4), "1111 111. 1111 1.11");
}

TEST(BigBirdRule, DrawsTheNumberAskedForOrAllThereAre) {
  const auto row = [](const Mask& mask, std::int64_t query, std::int64_t head) {
    const std::string drawn = picture(mask, 12, 12, 0, head);
    return drawn.substr(static_cast<std::size_t>(query * 13), 12);
  };
  for (std::int64_t head = 0; head < 4; ++head) {
    const std::string some = row(mask::bigbird(1, 3, 7), 5, head);
    EXPECT_EQ(std::count(some.begin(), some.end(), '1'), 5 + 3) << some;
    EXPECT_EQ(row(mask::bigbird(1, 64, 7), 5, head), "111111111111");
  }
}

TEST(BigBirdRule, IsAFunctionOfSeedHeadAndBlock) {
  EXPECT_EQ(picture(mask::bigbird(1, 2, 7), 12, 12), picture(mask::bigbird(1, 2, 7), 12, 12));
  EXPECT_NE(picture(mask::bigbird(1, 2, 7), 12, 12), picture(mask::bigbird(1, 2, 8), 12, 12));
  EXPECT_NE(picture(mask::bigbird(1, 2, 7), 12, 12, 0, 0),
            picture(mask::bigbird(1, 2, 7), 12, 12, 0, 1));
}

TEST(BigBirdRule, RefusesWhatItCannotCount) {
  EXPECT_EQ(error_of([] { mask::bigbird(0, 1, 0); }),
            "[bigbird] block_size is 0. It must be 1 .. 4294967296.");
  EXPECT_EQ(error_of([] { mask::bigbird(8, 65, 0); }),
            "[bigbird] num_random_blocks is 65. It must be 0 .. 64.");
  EXPECT_EQ(error_of([] {
              BigBirdOptions options;
              options.num_global_tokens = 16;
              mask::bigbird(options);
            }),
            "[bigbird] num_global_tokens is 16, but the layout is itc, whose first and last block "
            "are global. Only layout etc has tokens in front.");
  EXPECT_EQ(error_of([] { picture(mask::bigbird(1, 0, 0) & mask::packed({0, 2}), 2, 2); }),
            "[bigbird] its blocks are counted from the start of one sequence. It does not go with "
            "packed or positions; use a batch with lengths.");
}

}  // namespace
}  // namespace raptly
