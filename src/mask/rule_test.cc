#include "mask/rule.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <array>
#include <fstream>
#include <sstream>
#include <string>

#include "mask/predicate.h"
#include "mask/random_mask.h"
#include "mask/test_rule.h"

namespace raptly {
namespace {

using mask_detail::MaskTile;
using mask_detail::TileAnswer;
using mask_testing::error_of;

TEST(MaskPredicate, AgreesWithNumPy) {
  std::ifstream file(RAPTLY_SOURCE_DIR "/src/mask/testdata/goldens.txt");
  std::string line, word, text;
  int n_cases = 0, n_pairs = 0;
  while (std::getline(file, line)) {
    std::istringstream header(line);
    MaskScope scope;
    header >> word >> scope.batch >> scope.head >> scope.q_len >> scope.kv_len >>
        scope.first_position >> std::ws;
    ASSERT_EQ(word, "case");
    std::getline(header, text);
    const MaskPredicate sees(Mask::parse(text), scope);
    for (std::int64_t i = 0; i < scope.q_len; ++i) {
      ASSERT_TRUE(std::getline(file, line));
      ASSERT_EQ(line.size(), static_cast<std::size_t>(scope.kv_len));
      for (std::int64_t j = 0; j < scope.kv_len; ++j, ++n_pairs) {
        ASSERT_EQ(sees(i, j), line[static_cast<std::size_t>(j)] == '1')
            << text << ", q_len " << scope.q_len << ", kv_len " << scope.kv_len << ", position "
            << scope.first_position << ", batch " << scope.batch << ", head " << scope.head
            << ": query " << i << ", key " << j;
      }
    }
    ++n_cases;
  }
  EXPECT_GE(n_cases, 1200);
  EXPECT_GE(n_pairs, 59000);
}

// Items 1 to 3 and 5 of the semantics list: corners, windows that count both ends, positions.
TEST(MaskPredicate, NamedConstructorsMeanWhatTheirOwnersMean) {
  const MaskScope scope{.q_len = 9, .kv_len = 9};
  const MaskPredicate mistral(mask::causal() & mask::mistral(4), scope);
  const MaskPredicate window(mask::window(3, 0), scope);
  for (std::int64_t i = 0; i < 9; ++i) {
    std::int64_t seen = 0;
    for (std::int64_t j = 0; j < 9; ++j) {
      EXPECT_EQ(mistral(i, j), window(i, j));
      seen += mistral(i, j);
    }
    EXPECT_EQ(seen, std::min<std::int64_t>(i + 1, 4));  // itself and 3 before it
  }
}

RC_GTEST_PROP(Rule, TileAnswersHoldForEachPair, ()) {
  MaskScope scope = mask_testing::random_scope(150);
  scope.q_len += 1;
  scope.kv_len += 1;
  const Mask mask = mask_testing::random_mask(scope);
  if (mask.rule() == nullptr) return;  // "all" has no rule to ask
  const MaskPredicate sees(mask, scope);
  const MaskScope placed = mask_detail::place_mask(mask, scope);
  MaskTile tile;
  tile.first_query = mask_testing::number(0, scope.q_len - 1);
  tile.first_key = mask_testing::number(0, scope.kv_len - 1);
  tile.n_queries =
      mask_testing::number(1, std::min<std::int64_t>(64, scope.q_len - tile.first_query));
  tile.n_keys = mask_testing::number(1, std::min<std::int64_t>(128, scope.kv_len - tile.first_key));
  const TileAnswer answer = mask.rule()->answer(placed, tile);
  std::array<std::uint64_t, 128> words{};
  mask.rule()->bits(placed, tile, std::span(words).first(static_cast<std::size_t>(tile.n_keys)));
  for (std::int64_t k = 0; k < tile.n_keys; ++k) {
    std::uint64_t expected = 0;
    for (std::int64_t i = 0; i < tile.n_queries; ++i) {
      const bool seen = sees(tile.first_query + i, tile.first_key + k);
      if (answer != TileAnswer::kPartial) RC_ASSERT(seen == (answer == TileAnswer::kFull));
      expected |= static_cast<std::uint64_t>(seen) << i;
    }
    RC_ASSERT(words[static_cast<std::size_t>(k)] == expected);
  }
}

// Rules that ask positions answer exactly where positions are a straight line: a tile that is all
// seen is called full, and one that is all unseen empty.
RC_GTEST_PROP(Rule, PositionRulesAnswerExactly, ()) {
  MaskScope scope = mask_testing::random_scope(40);
  const std::int64_t n = std::max(scope.q_len, scope.kv_len) + 1;
  const std::int64_t few = mask_testing::number(1, n);
  const Mask masks[] = {mask::causal(), mask::causal(mask::Corner::kTopLeft), mask::prefix(few),
                        mask::chunked(few),
                        mask::padding(mask_testing::random_list(scope.kv_len, 0, 1))};
  const Mask mask = masks[mask_testing::number(0, std::ssize(masks) - 1)];
  if (scope.q_len == 0 || scope.kv_len == 0) return;
  const MaskTile tile{0, scope.q_len, 0, scope.kv_len};
  const MaskPredicate sees(mask, scope);
  std::int64_t n_seen = 0;
  for (std::int64_t i = 0; i < scope.q_len; ++i) {
    for (std::int64_t j = 0; j < scope.kv_len; ++j) n_seen += sees(i, j);
  }
  const TileAnswer expected = n_seen == 0                            ? TileAnswer::kEmpty
                              : n_seen == scope.q_len * scope.kv_len ? TileAnswer::kFull
                                                                     : TileAnswer::kPartial;
  RC_ASSERT(mask.rule()->answer(mask_detail::place_mask(mask, scope), tile) == expected);
}

TEST(Rule, RefusesWhatIsWrong) {
  EXPECT_EQ(error_of([] { mask::window(-1, 0); }),
            "[window] left is -1. It must be 0 or more; use None for no bound.");
  EXPECT_EQ(error_of([] { mask::window(std::nullopt, -7); }),
            "[window] right is -7. It must be 0 or more; use None for no bound.");
  EXPECT_EQ(error_of([] { mask::mistral(0); }),
            "[mistral] size is 0. It must be 1 or more: it counts the query's own key.");
  EXPECT_EQ(error_of([] { mask::lengths({1, 2}, {3}); }),
            "[lengths] q_lens has 2 entries, kv_lens has 1. Give one of each for each batch entry, "
            "and at least one.");
  EXPECT_EQ(error_of([] { mask::lengths({}, {}); }),
            "[lengths] q_lens has 0 entries, kv_lens has 0. Give one of each for each batch entry, "
            "and at least one.");
  EXPECT_EQ(error_of([] { mask::lengths({1, -2}, {3, 4}); }),
            "[lengths] q_lens[1] is -2. A length must be 0 or more.");
  EXPECT_EQ(
      error_of([] { mask::lengths({1}, {1}) & mask::causal() & mask::lengths({1}, {1}); }),
      "[mask] both sides of & say where tokens stand. Only one of lengths, packed and positions "
      "may be given.");
}

TEST(Rule, RefusesAScopeThatDoesNotFit) {
  const Mask mask = mask::causal() & mask::lengths({4}, {6});
  EXPECT_EQ(error_of([&] { TilePlan(mask, {.q_len = 3, .kv_len = 6}, 8); }),
            "[lengths] q_lens[0] is 4, q_len is 3. A length may not exceed the tensor.");
  EXPECT_EQ(error_of([&] { TilePlan(mask, {.q_len = 4, .kv_len = 5}, 8); }),
            "[lengths] kv_lens[0] is 6, kv_len is 5. A length may not exceed the tensor.");
  EXPECT_EQ(error_of([&] { TilePlan(mask, {.batch = 1, .q_len = 4, .kv_len = 6}, 8); }),
            "[lengths] there are 1 lengths, but batch entry 1 was asked for. Give one length for "
            "each entry.");
  EXPECT_EQ(error_of([&] { TilePlan(mask, {.q_len = -4}, 8); }),
            "[mask] q_len is -4. It must be 0 .. 2^48.");
  EXPECT_EQ(error_of([&] { TilePlan(mask, {.first_position = std::int64_t{1} << 50}, 8); }),
            "[mask] first_position is 1125899906842624. It must be -281474976710656 .. 2^48.");
  EXPECT_EQ(error_of([&] { TilePlan(mask, {}, 65); }),
            "[mask] tile_queries is 65. It must be 1 .. 64.");
}

TEST(Rule, ManyRulesInCodeAreRefusedNotOverflowed) {
  Mask mask = mask::causal();
  const std::string message = error_of([&] {
    for (int i = 0; i < 100000; ++i) mask = mask & mask::window(i, i);
  });
  EXPECT_EQ(message,
            "[mask] the mask would have more than 1024 rules. That is the most a mask may have.");
}

}  // namespace
}  // namespace raptly
