// explain() and draw() against materialize(), which asks pair by pair.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <functional>
#include <numeric>

#include "mask/random_mask.h"
#include "mask/test_rule.h"

namespace raptly {
namespace {

using mask_testing::error_of;
using mask_testing::kBatch;
using mask_testing::kHeads;
using mask_testing::number;
using Rows = std::vector<std::vector<std::int64_t>>;  // one list a batch entry

TEST(MaskExplain, CountsACausalMask) {
  const MaskReport r = mask::causal().explain({.q_len = 256, .kv_len = 256, .n_heads = 3});
  EXPECT_EQ(r.visible_pairs, 3 * 256 * 257 / 2);
  EXPECT_DOUBLE_EQ(r.density, 257.0 / 512);
  // 4 tiles of 64 queries x 2 blocks of 128 keys: rows 2 and 3 see block 0 whole.
  EXPECT_EQ(r.tiles_full, 3 * 2);
  EXPECT_EQ(r.tiles_partial, 3 * 4);
  EXPECT_EQ(r.tiles_empty, 3 * 2);
  EXPECT_DOUBLE_EQ(r.share_skipped, 0.25);
  EXPECT_DOUBLE_EQ(r.flops, r.visible_pairs * 256);
  EXPECT_DOUBLE_EQ(r.flops_dense, 3.0 * 256 * 256 * 256);
  EXPECT_DOUBLE_EQ(r.bytes, 3.0 * 4 * 128 * 512);
  EXPECT_EQ(r.n_plans, 1);
  EXPECT_NE(r.to_string().find("6 full, 12 partial, 6 empty: 25 % skipped"), std::string::npos)
      << r.to_string();
}

TEST(MaskExplain, SaysWhatIsSo) {
  const std::string text = mask::causal().explain({1, 1}).to_string();
  EXPECT_NE(text.find("density    100 % of 1 pairs (1 queries x 1 keys, batch 1, 1 head)"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find(": 0 % saved"), std::string::npos) << text;
  // Rounded to four digits, one pair of 2 million would be 100 % saved.
  const std::string few = mask::window(0, 0).explain({1, 2000000}).to_string();
  EXPECT_NE(few.find("density    5e-05 %"), std::string::npos) << few;
  EXPECT_NE(few.find(": 99.9999 % saved"), std::string::npos) << few;
  EXPECT_NE(few.find(": 99.99 % skipped"), std::string::npos) << few;
  const std::string none = mask::none().explain({1, 2000000}).to_string();
  EXPECT_NE(none.find(": 100 % saved"), std::string::npos) << none;
  EXPECT_NE(
      mask::causal().explain({.q_len = 2, .kv_len = 2, .n_heads = 2}).to_string().find("2 heads)"),
      std::string::npos);
}

TEST(MaskExplain, TilesThatCountTwiceAreOneTile) {
  mask::HfBigBirdOptions options;
  options.block_size = 64;
  options.num_random_blocks = 3;
  const MaskReport r = mask::hf_bigbird(options).explain({.q_len = 4096, .kv_len = 4096});
  EXPECT_EQ(r.tiles(), 64 * 32);
  EXPECT_GT(r.tiles_again, 0);
  EXPECT_DOUBLE_EQ(r.share_skipped, static_cast<double>(r.tiles_empty) / (64 * 32));
  EXPECT_NE(r.to_string().find(" of them counted again, "), std::string::npos) << r.to_string();
  EXPECT_EQ(mask::bigbird(64, 3, 0).explain({.q_len = 4096, .kv_len = 4096}).tiles_again, 0);
}

TEST(MaskExplain, ReadsOnlyTheBlocksThatAreSeen) {
  const MaskReport r = mask::window(0, 0).explain({.q_len = 1, .kv_len = 1280});
  EXPECT_DOUBLE_EQ(r.bytes, 4.0 * 128 * (1 + 128));
}

TEST(MaskExplain, HeadsThatAgreeShareAPlan) {
  const MaskShape shape{.q_len = 300, .kv_len = 300};
  const MaskReport r = mask::dilated(9, {1, 2, 1, 1}).explain(shape);
  EXPECT_EQ(r.shape.n_heads, 4);
  EXPECT_EQ(r.n_plans, 2);
  EXPECT_EQ(mask::bigbird(16, 1, 0).explain({.q_len = 90, .kv_len = 90, .n_heads = 5}).n_plans, 5);
  EXPECT_EQ(mask::padding(Rows{{1, 0}, {1, 1}}).explain({.q_len = 9, .kv_len = 2}).visible_pairs,
            27);
}

TEST(MaskExplain, EmptyShapes) {
  EXPECT_EQ(mask::causal().explain({.q_len = 0, .kv_len = 9}).density, 0);
  EXPECT_EQ(Mask().explain({.q_len = 9, .kv_len = 0}).pairs, 0);
  const MaskRaster none = mask::causal().draw(5, 0, 10, 10);
  EXPECT_EQ(none.width, 0);
}

TEST(MaskExplain, RefusesWhatDoesNotFit) {
  const Mask mask = mask::padding(Rows{{1, 0}, {1, 1}});
  EXPECT_EQ(error_of([&] { mask.explain({.q_len = 1, .kv_len = 2, .batch = 3}); }),
            "[mask] batch is 3, the mask is for 2. They must agree; 0 takes the mask's own.");
  EXPECT_EQ(error_of([&] { mask.explain({.q_len = -1, .kv_len = 2}); }),
            "[mask] q_len is -1. It must be 0 .. 2^48.");
  EXPECT_EQ(error_of([&] { mask.materialize(-1, 2); }),
            "[mask] q_len is -1. It must be 0 .. 2^48.");
  EXPECT_EQ(error_of([&] { Mask().materialize(1 << 20, 1 << 20); }),
            "[mask] materialize of 1048576 x 1048576 pairs was asked for. At most 2^36 are "
            "allowed.");
  EXPECT_EQ(error_of([&] { mask.materialize(1, 2, 2); }),
            "[padding] there are lists for 2 batch entries, but entry 2 was asked for. Give one "
            "for each entry.");
  constexpr std::int64_t kHuge = std::int64_t{1} << 48;
  for (const auto& ask : {std::function<void()>([] { mask::causal().explain({kHuge, kHuge}); }),
                          std::function<void()>([] { mask::causal().draw(kHuge, kHuge, 8, 8); })}) {
    try {
      ask();
      ADD_FAILURE() << "2^48 queries were planned";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kOutOfMemory);
      EXPECT_STREQ(error.what(),
                   "[mask] q_len 281474976710656 and kv_len 281474976710656 need more memory than "
                   "there is.");
    }
  }
  EXPECT_EQ(error_of([&] { mask.draw(1, 2, 0, 5); }),
            "[mask] a picture of 0 x 5 cells was asked for. Both must be 1 .. 16384.");
}

MaskScope square_scope() {
  MaskScope scope = mask_testing::random_scope(300);
  scope.first_position = scope.kv_len - scope.q_len;
  return scope;
}

RC_GTEST_PROP(MaskExplain, CountsThePairsOfEveryEntryAndHead, ()) {
  const MaskScope scope = square_scope();
  const Mask mask = mask_testing::random_mask(scope);
  const MaskReport r = mask.explain(
      {.q_len = scope.q_len, .kv_len = scope.kv_len, .batch = kBatch, .n_heads = kHeads});
  double seen = 0;
  for (std::int64_t b = 0; b < kBatch; ++b) {
    for (std::int64_t h = 0; h < kHeads; ++h) {
      const auto pairs = mask.materialize(scope.q_len, scope.kv_len, b, h);
      seen += std::accumulate(pairs.begin(), pairs.end(), 0.0);
    }
  }
  RC_ASSERT(r.visible_pairs == seen);
  const double pairs = static_cast<double>(kBatch * kHeads * scope.q_len * scope.kv_len);
  RC_ASSERT(r.pairs == pairs);
}

RC_GTEST_PROP(MaskDraw, CellsAreTheMeanOfTheirPairs, ()) {
  const MaskScope scope = square_scope();
  const Mask mask = mask_testing::random_mask(scope);
  const MaskRaster raster = mask.draw(scope.q_len, scope.kv_len, static_cast<int>(number(1, 90)),
                                      static_cast<int>(number(1, 90)), scope.batch, scope.head);
  const auto pairs = mask.materialize(scope.q_len, scope.kv_len, scope.batch, scope.head);
  for (int y = 0; y < raster.height; ++y) {
    for (int x = 0; x < raster.width; ++x) {
      double seen = 0, n = 0;
      for (std::int64_t i = y * scope.q_len / raster.height;
           i < (y + 1) * scope.q_len / raster.height; ++i) {
        for (std::int64_t j = x * scope.kv_len / raster.width;
             j < (x + 1) * scope.kv_len / raster.width; ++j, ++n) {
          seen += pairs[static_cast<std::size_t>(i * scope.kv_len + j)];
        }
      }
      RC_ASSERT(n > 0);
      RC_ASSERT(std::abs(raster.at(x, y) - static_cast<float>(seen / n)) < 1e-6f);
    }
  }
}

}  // namespace
}  // namespace raptly
