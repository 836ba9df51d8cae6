#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "mask/test_rule.h"

namespace raptly {
namespace {

using mask_testing::error_of;
using mask_testing::picture;

mask::HfBigBirdOptions eval(std::int64_t block_size, std::int64_t num_random_blocks) {
  mask::HfBigBirdOptions options;
  options.block_size = block_size;
  options.num_random_blocks = num_random_blocks;
  return options;
}
mask::HfBigBirdOptions train(std::int64_t block_size, std::int64_t num_random_blocks,
                             std::int64_t seq_len) {
  mask::HfBigBirdOptions options = eval(block_size, num_random_blocks);
  options.seed = 3;
  options.n_heads = 2;
  options.seq_len = seq_len;
  return options;
}

// How often each key is seen, a digit a key.
std::string counts(const Mask& mask, std::int64_t len, std::int64_t query, std::int64_t head = 0) {
  const std::vector<std::uint8_t> seen = mask.materialize(len, len, 0, head);
  std::string text;
  for (std::int64_t k = 0; k < len; ++k) {
    text += static_cast<char>('0' + seen[static_cast<std::size_t>(query * len + k)]);
  }
  return text;
}

TEST(HfBigBirdRule, EvalCountsTheFirstBlockAgain) {
  const Mask mask = mask::hf_bigbird(eval(1, 2));
  const std::string rows[] = {"111111111111", "311000000001", "311100000001", "301110000001"};
  for (std::int64_t a = 0; a < 4; ++a) {
    EXPECT_EQ(counts(mask, 12, a), rows[static_cast<std::size_t>(a)]) << a;
  }
  EXPECT_EQ(counts(mask, 12, 9), "300000001111");
  EXPECT_EQ(counts(mask, 12, 10), "300000000111");
  EXPECT_EQ(counts(mask, 12, 11), "111111111111");
  EXPECT_EQ(counts(mask, 9, 4), "111111111") << "the model uses full attention";
  picture(mask, 12, 12);
}

TEST(HfBigBirdRule, TrainingDrawsForEachHead) {
  const Mask mask = mask::hf_bigbird(train(1, 2, 12));
  const std::string row = counts(mask, 12, 5, 1);
  EXPECT_EQ(std::count(row.begin(), row.end(), '1'), 5 + 2) << row;
  std::string heads[2];
  for (std::int64_t head = 0; head < 2; ++head) {
    for (std::int64_t a = 1; a < 11; ++a) {
      heads[static_cast<std::size_t>(head)] += counts(mask, 12, a, head);
    }
  }
  EXPECT_NE(heads[0], heads[1]);
  EXPECT_EQ(Mask::parse(mask.to_string()), mask);
  EXPECT_EQ(mask.to_string(), "hf_bigbird(1, 2, seed=3, n_heads=2, seq_len=12, max_len=4096)");
}

RC_GTEST_PROP(HfBigBirdRule, PlansListBlocksAsOftenAsTheyCount, ()) {
  const auto number = [](std::int64_t least, std::int64_t most) {
    return *rc::gen::inRange<std::int64_t>(least, most + 1);
  };
  const std::int64_t len = number(0, 600);
  Mask mask = mask::hf_bigbird(eval(number(1, 40), number(0, 4)));
  if (number(0, 1) == 0) {
    std::vector<std::int64_t> real;
    for (std::int64_t i = 0; i < len; ++i) real.push_back(number(0, 9) > 0);
    mask = mask & mask::real_tokens(real);
  }
  const MaskScope scope = bottom_right_scope(len, len, 0, 0);
  const TilePlan plan(mask, scope, static_cast<int>(number(1, 64)));
  std::vector<int> seen(static_cast<std::size_t>(len * len));
  std::int64_t blocks = 0, pairs = 0;
  for (const QueryTile& tile : plan.tiles()) {
    std::int64_t last_end = 0, last_block = -1;
    for (const TileSpan& span : tile.spans) {
      const std::int64_t end = span.first_key + span.n_keys;
      RC_ASSERT(end >= last_end);  // what kernels rely on to find a block's spans
      last_end = end;
      for (std::int64_t b = span.first_key / kBlockKeys; b * kBlockKeys < end; ++b) {
        RC_ASSERT(b >= last_block);
        blocks += b > last_block;
        last_block = b;
      }
      for (std::int64_t k = 0; k < span.n_keys; ++k) {
        for (int i = 0; i < tile.n_queries; ++i) {
          const std::int64_t at = (tile.first_query + i) * len + span.first_key + k;
          const int sees = !span.bits || (span.bits[k] >> i & 1) ? 1 : 0;
          seen[static_cast<std::size_t>(at)] += sees;
          pairs += sees;
        }
      }
    }
  }
  const MaskPredicate sees(mask, scope);
  for (std::int64_t i = 0, at = 0; i < len; ++i) {
    for (std::int64_t j = 0; j < len; ++j, ++at) {
      RC_ASSERT(seen[static_cast<std::size_t>(at)] == sees(i, j));
    }
  }
  RC_ASSERT(plan.visible_pairs() == pairs);
  const std::int64_t grid =
      static_cast<std::int64_t>(plan.tiles().size()) * ((len + kBlockKeys - 1) / kBlockKeys);
  RC_ASSERT(plan.n_empty() == grid - blocks);
}

TEST(HfBigBirdRule, RefusesWhatTransformersCannotDo) {
  EXPECT_EQ(error_of([] { mask::hf_bigbird(train(64, 3, 704 - 1)); }), "no error");
  EXPECT_EQ(error_of([] { mask::hf_bigbird(eval(0, 3)); }),
            "[hf_bigbird] block_size is 0. It must be 1 .. 16777216.");
  EXPECT_EQ(error_of([] { mask::hf_bigbird(train(1, 3, 1 << 25)); }),
            "[hf_bigbird] seq_len is 33554432. It must be 1 .. 16777216.");
  EXPECT_EQ(error_of([] { mask::hf_bigbird(train(1, 3, 1 << 20)); }),
            "[hf_bigbird] the number of block rows of all heads is 2097152. It must be 0 .. "
            "1048576.");
  EXPECT_EQ(error_of([] { picture(mask::hf_bigbird(eval(1, 0)), 2, 3); }),
            "[hf_bigbird] q_len is 2, kv_len is 3. They must be equal: it is self-attention.");
  EXPECT_EQ(error_of([] { picture(mask::hf_bigbird(train(1, 2, 12)), 13, 13); }),
            "[hf_bigbird] kv_len is 13, the random blocks were drawn for seq_len 12. They must "
            "have as many blocks.");
  const Mask twice = mask::hf_bigbird(eval(1, 1));
  EXPECT_EQ(error_of([&] { twice | mask::causal(); }),
            "[mask] a side of | counts pairs more than once (hf_bigbird). Join it with & only, "
            "and only one such rule.");
  EXPECT_EQ(error_of([&] { twice & twice; }),
            "[mask] a side of & counts pairs more than once (hf_bigbird). Join it with & only, "
            "and only one such rule.");
  EXPECT_EQ(error_of([&] { ~twice; }),
            "[mask] ~ of a rule that counts pairs more than once (hf_bigbird) says nothing.");
}

TEST(HfLongformerRule, PaddedRowsAndKeysAreHidden) {
  EXPECT_EQ(picture(mask::hf_longformer(2, {0, 1, 1, 1, 2}), 5, 5),
            "..... .11.1 .1111 ..111 .1111");
  EXPECT_EQ(picture(mask::real_tokens({1, 0, 1}), 3, 3), "1.1 ... 1.1");
  EXPECT_EQ(error_of([] { mask::hf_longformer(2, {0, 3}); }),
            "[hf_longformer] attention_mask[1] is 3. It must be 0 .. 2.");
}

}  // namespace
}  // namespace raptly
