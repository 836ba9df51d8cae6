#include "attention/work_list.h"

#include <gtest/gtest.h>

#include <map>
#include <tuple>
#include <vector>

#include "raptly/mask.h"

namespace raptly {
namespace {

constexpr int kTileQueries = 48;

struct Planned {
  std::vector<TilePlan> plans;
  std::vector<PlannedSequence> sequences;

  Planned(const std::vector<std::int64_t>& lengths, const char* mask) {
    for (const std::int64_t n : lengths) {
      plans.emplace_back(Mask::parse(mask), MaskScope{.q_len = n, .kv_len = n}, kTileQueries);
    }
    for (const TilePlan& plan : plans) sequences.push_back({{&plan}, false});
  }
  WorkList cut(const HeadSets& heads, int threads) const {
    return make_work_list(sequences, heads, threads);
  }
};

TEST(WorkList, EveryTileIsInOneItem) {
  for (const int threads : {1, 2, 3, 7, 64}) {
    for (const std::int64_t heads : {1, 2, 5, 12}) {
      for (const char* mask : {"all", "causal", "window(3, 0)"}) {
        const Planned planned({1, 47, 128, 700, 3000}, mask);
        const WorkList list = planned.cut({heads, 1}, threads);
        std::map<std::tuple<std::int64_t, std::int64_t, std::int64_t>, int> count;
        std::int64_t longest = 0;
        for (const PrefillWork& item : list.prefill) {
          ASSERT_LT(item.tile_begin, item.tile_end);
          longest = std::max(longest, item.tile_end - item.tile_begin);
          for (std::int64_t t = item.tile_begin; t < item.tile_end; ++t) {
            ++count[{item.sequence, item.first_head, t}];
          }
        }
        std::size_t tiles = 0;
        for (const TilePlan& plan : planned.plans) tiles += plan.tiles().size();
        EXPECT_EQ(count.size(), tiles * static_cast<std::size_t>(heads));
        for (const auto& [where, n] : count) EXPECT_EQ(n, 1);
        EXPECT_EQ(list.max_tiles, longest);
      }
    }
  }
}

// One head of 128 to 1024 queries: an item a thread, whose costs differ by a tile at most.
TEST(WorkList, FewRowsAreSharedEvenly) {
  for (const std::int64_t n : {128, 300, 512, 1024}) {
    for (const char* mask : {"all", "causal"}) {
      const Planned planned({n}, mask);
      const WorkList list = planned.cut({1, 1}, 2);
      if (n == 128 && std::string_view(mask) == "causal") {
        EXPECT_EQ(list.prefill.size(), 1u);  // too little work to wake a thread for
        continue;
      }
      ASSERT_EQ(list.prefill.size(), 2u) << n << " " << mask;
      const double tile = kTileQueries * static_cast<double>(n);
      EXPECT_NEAR(list.prefill[0].cost, list.prefill[1].cost, tile) << n << " " << mask;
    }
  }
}

TEST(WorkList, AnOddNumberOfHeadsIsHalved) {
  const Planned planned({300}, "all");
  EXPECT_EQ(planned.cut({3, 1}, 2).prefill.size(), 6u);
  EXPECT_EQ(planned.cut({2, 1}, 2).prefill.size(), 2u);
  EXPECT_EQ(planned.cut({4, 1}, 2).prefill.size(), 8u);
  EXPECT_EQ(planned.cut({5, 1}, 2).prefill.size(), 10u);  // enough of 192 rows as they are
  EXPECT_EQ(planned.cut({3, 1}, 1).prefill.size(), 6u);   // of 192 rows
}

TEST(WorkList, TooLittleWorkStaysWhole) {
  const Planned planned({64}, "all");
  EXPECT_EQ(planned.cut({1, 1}, 2).prefill.size(), 1u);
}

}  // namespace
}  // namespace raptly
