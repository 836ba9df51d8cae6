#include "mask/test_rule.h"

namespace raptly {
namespace {

using mask_testing::error_of;
using mask_testing::picture;

TEST(DocumentsRule, EqualIdsSeeEachOther) {
  EXPECT_EQ(picture(mask::documents({7, 7, 9}, {7, 9, 9, 7}), 3, 4), "1..1 1..1 .11.");
  EXPECT_EQ(picture(mask::causal() & mask::documents({1, 1, 2}), 3, 3), "1.. 11. ..1");
}

TEST(DocumentsRule, BatchEntriesHaveIdsOfTheirOwn) {
  const Mask mask = mask::documents({{1, 1}, {1, 2}});
  EXPECT_EQ(picture(mask, 2, 2, 0), "11 11");
  EXPECT_EQ(picture(mask, 2, 2, 1), "1. .1");
  EXPECT_EQ(error_of([&] { picture(mask, 2, 2, 2); }),
            "[documents] there are lists for 2 batch entries, but entry 2 was asked for. Give one "
            "for each entry.");
}

TEST(DocumentsRule, RefusesListsOfOtherSizes) {
  EXPECT_EQ(error_of([] { picture(mask::documents({1, 2}), 3, 3); }),
            "[documents] q_ids has 2 entries, q_len is 3. They must be equal.");
  EXPECT_EQ(error_of([] { picture(mask::documents({1, 2, 3}, {1}), 3, 3); }),
            "[documents] kv_ids has 1 entries, kv_len is 3. They must be equal.");
}

}  // namespace
}  // namespace raptly
