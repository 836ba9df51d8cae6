#include "mask/test_rule.h"

namespace raptly {
namespace {

using mask_testing::error_of;
using mask_testing::picture;

TEST(ChunkedRule, SeesItsOwnChunk) {
  EXPECT_EQ(picture(mask::chunked(2), 4, 4), "11.. 11.. ..11 ..11");
  EXPECT_EQ(picture(mask::chunked(2), 2, 5), "..11. ....1");
  EXPECT_EQ(picture(mask::chunked(2), 3, 1), ". . 1");  // positions -2, -1, 0
}

TEST(ChunkedRule, Llama4IsCausalInsideItsChunk) {
  EXPECT_EQ(picture(mask::causal() & mask::chunked(3), 5, 5), "1.... 11... 111.. ...1. ...11");
}

TEST(ChunkedRule, RefusesAnEmptyChunk) {
  EXPECT_EQ(error_of([] { mask::chunked(0); }), "[chunked] size is 0. It must be 1 .. 2^48.");
}

}  // namespace
}  // namespace raptly
