#include "mask/row_rules.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "mask/predicate.h"
#include "mask/random_mask.h"

namespace raptly {
namespace {

// The pairs of a plan, [q_len][kv_len].
std::vector<bool> pairs_of(const Mask& mask, const MaskScope& scope) {
  std::vector<bool> seen(static_cast<std::size_t>(scope.q_len * scope.kv_len));
  const TilePlan plan(mask, scope, 48);
  for (const QueryTile& tile : plan.tiles()) {
    for (const TileSpan& span : tile.spans) {
      for (std::int64_t k = 0; k < span.n_keys; ++k) {
        for (int i = 0; i < tile.n_queries; ++i) {
          if (span.bits && !(span.bits[k] >> i & 1)) continue;
          seen[static_cast<std::size_t>((tile.first_query + i) * scope.kv_len + span.first_key +
                                        k)] = true;
        }
      }
    }
  }
  return seen;
}

QueryLists random_lists(std::int64_t entries, std::int64_t q_len) {
  QueryLists lists;
  for (std::int64_t b = 0; b < entries; ++b) {
    std::vector<std::int64_t> list;
    for (std::int64_t i = 0; i < q_len; ++i) {
      if (mask_testing::number(0, 2) == 0) list.push_back(i);
    }
    lists.push_back(list);
  }
  return lists;
}

RC_GTEST_PROP(RowRules, HiddenAndSelectedQueriesAreThoseOfTheMask, ()) {
  const MaskScope shape = mask_testing::random_scope(200);
  const Mask some = mask_testing::random_mask(shape);
  const Mask mask = some.rule() ? some : mask::window(3, 3);
  const MaskLengths lengths{std::max<std::int64_t>(1, mask.rule()->batch()), shape.q_len,
                            shape.kv_len};
  const QueryLists lists = random_lists(lengths.entries, shape.q_len);
  const Mask hidden = hide_queries(mask, lists), selected = select_queries(mask, lists, lengths);
  for (std::int64_t b = 0; b < lengths.entries; ++b) {
    const MaskPredicate sees(mask, lengths.scope(b, shape.head));
    const auto& list = lists[static_cast<std::size_t>(b)];
    const std::vector<bool> rest = pairs_of(hidden, lengths.scope(b, shape.head));
    MaskScope rows = lengths.scope(b, shape.head);
    rows.q_len = static_cast<std::int64_t>(list.size());
    rows.first_position = shape.kv_len - rows.q_len;
    const std::vector<bool> mine = pairs_of(selected, rows);
    const MaskPredicate mine_pairwise(selected, rows);
    std::int64_t next = 0;
    for (std::int64_t i = 0; i < shape.q_len; ++i) {
      const bool is_listed = next < rows.q_len && list[static_cast<std::size_t>(next)] == i;
      for (std::int64_t j = 0; j < shape.kv_len; ++j) {
        RC_ASSERT(rest[static_cast<std::size_t>(i * shape.kv_len + j)] ==
                  (!is_listed && sees(i, j)));
        if (!is_listed) continue;
        RC_ASSERT(mine[static_cast<std::size_t>(next * shape.kv_len + j)] == sees(i, j));
        RC_ASSERT(mine_pairwise(next, j) == sees(i, j));
      }
      next += is_listed;
    }
  }
}

TEST(RowRules, GlobalQueriesStandAtGlobalPositions) {
  using Lists = QueryLists;
  EXPECT_EQ(global_queries(mask::longformer(4, {9, 2, 30}), {1, 10, 12}), Lists({{0, 7}}));
  EXPECT_EQ(global_queries(mask::longformer(4, {0}) & mask::packed({0, 4, 10}), {1, 10, 10}),
            Lists({{0, 4}}));
  EXPECT_EQ(
      global_queries(mask::global_tokens({{0, 1}, {3}}) | mask::global_tokens({1, 5}), {2, 10, 10}),
      Lists({{0, 1, 5}, {1, 3, 5}}));
  EXPECT_FALSE(has_global_tokens(Mask()));
  EXPECT_FALSE(has_global_tokens(~mask::global_tokens({0})));
  EXPECT_TRUE(has_global_tokens(mask::causal() & mask::longformer(4, {0})));
}

}  // namespace
}  // namespace raptly
