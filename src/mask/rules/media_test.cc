#include "mask/test_rule.h"

namespace raptly {
namespace {

using mask_testing::error_of;
using mask_testing::picture;

TEST(MediaRule, TextSeesTheImageBeforeIt) {
  EXPECT_EQ(picture(mask::media({0, 1, 2}, 2), 3, 4), ".... 11.. ..11");
}

TEST(MediaRule, OrAllImagesBeforeIt) {
  EXPECT_EQ(picture(mask::media({0, 1, 2}, 2, mask::MediaMode::kAllPrevious), 3, 4),
            ".... 11.. 1111");
}

TEST(MediaRule, RefusesImagesThatAreNotThere) {
  EXPECT_EQ(error_of([] { picture(mask::media({0, 3}, 2), 2, 4); }),
            "[media] text_media_index holds 3, but kv_len 4 has the keys of 2 images of 2 tokens. "
            "It counts the images seen so far.");
  EXPECT_EQ(error_of([] { mask::media({0}, 0); }),
            "[media] tokens_per_media is 0. It must be 1 or more.");
}

}  // namespace
}  // namespace raptly
