#include "attention/work_list.h"

#include <algorithm>
#include <tuple>

namespace raptly {
namespace {

constexpr std::int64_t kItemsPerThread = 8;  // so that stealing single items evens out the threads
// Below 192 rows an item pays more than 3 % for staging keys and values that other items stage too;
// above 2048 its q and o leave L2.
constexpr std::int64_t kMinItemRows = 192, kMaxItemRows = 2048;

double pairs_of(const QueryTile& tile) {
  double keys = 0;
  for (const TileSpan& span : tile.spans) keys += static_cast<double>(span.n_keys);
  return keys * tile.n_queries;
}

void add_prefill(WorkList& list, std::int64_t sequence, const TilePlan& plan,
                 std::int64_t first_head, std::int64_t tiles_per_item) {
  const auto n_tiles = static_cast<std::int64_t>(plan.tiles().size());
  for (std::int64_t begin = 0; begin < n_tiles; begin += tiles_per_item) {
    PrefillWork work{sequence, first_head, begin, std::min(begin + tiles_per_item, n_tiles), 0};
    for (std::int64_t t = begin; t < work.tile_end; ++t) {
      work.cost += pairs_of(plan.tiles()[static_cast<std::size_t>(t)]);
    }
    list.max_tiles = std::max(list.max_tiles, work.tile_end - begin);
    list.prefill.push_back(work);
  }
}

// The splits that any query of the plan sees.
std::pair<std::int64_t, std::int64_t> split_range(const TilePlan& plan) {
  std::int64_t first = INT64_MAX, end = 0;
  for (const QueryTile& tile : plan.tiles()) {
    if (tile.spans.empty()) continue;
    const TileSpan& last = tile.spans.back();
    first = std::min(first, tile.spans.front().first_key / kSplitKeys);
    end = std::max(end, (last.first_key + last.n_keys + kSplitKeys - 1) / kSplitKeys);
  }
  return {std::min(first, end), end};
}

void add_decode(WorkList& list, std::int64_t sequence, const TilePlan& plan,
                std::int64_t first_head, std::int64_t splits_per_item) {
  const auto [first, end] = split_range(plan);
  const auto merge = static_cast<std::int64_t>(list.merges.size());
  list.merges.push_back({sequence, first_head, first, end - first, list.n_states});
  list.n_states += end - first;
  std::int64_t split = first;
  do {  // one item even when nothing is visible: it writes the empty rows
    list.decode.push_back({merge, split, std::min(split + splits_per_item, end)});
    split += splits_per_item;
  } while (split < end);
}

// Longest first for every thread: the sorted items are dealt to the threads' static ranges in turn.
void order_for_threads(std::vector<PrefillWork>& work, int threads) {
  std::sort(work.begin(), work.end(), [](const PrefillWork& a, const PrefillWork& b) {
    return std::tie(b.cost, a.sequence, a.first_head, a.tile_begin) <
           std::tie(a.cost, b.sequence, b.first_head, b.tile_begin);
  });
  if (threads == 1) return;
  std::vector<PrefillWork> dealt;
  dealt.reserve(work.size());
  const auto step = static_cast<std::size_t>(threads);
  for (std::size_t t = 0; t < step; ++t) {
    for (std::size_t i = t; i < work.size(); i += step) dealt.push_back(work[i]);
  }
  work = std::move(dealt);
}

}  // namespace

WorkList make_work_list(std::span<const PlannedSequence> sequences, const HeadSets& heads,
                        int threads) {
  WorkList list;
  const std::int64_t items = kItemsPerThread * threads;
  std::int64_t tiles = 0, splits = 0;
  for (const PlannedSequence& s : sequences) {
    for (std::int64_t set = 0; set < heads.n_sets; ++set) {
      if (s.decode) {
        const auto [first, end] = split_range(s.plan(set));
        splits += end - first;
      } else {
        tiles += static_cast<std::int64_t>(s.plan(set).tiles().size());
      }
    }
  }
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    const auto sequence = static_cast<std::int64_t>(i);
    for (std::int64_t set = 0; set < heads.n_sets; ++set) {
      const TilePlan& plan = sequences[i].plan(set);
      const std::int64_t head = set * heads.heads_per_set;
      if (plan.tiles().empty()) continue;
      if (sequences[i].decode) {
        add_decode(list, sequence, plan, head, std::max<std::int64_t>(1, splits / (2 * items)));
      } else {
        const std::int64_t tile_rows = plan.tiles()[0].n_queries * heads.heads_per_set;
        const std::int64_t least = (kMinItemRows + tile_rows - 1) / tile_rows;
        const std::int64_t most = std::max(least, kMaxItemRows / tile_rows);
        add_prefill(list, sequence, plan, head, std::clamp(tiles / items, least, most));
      }
    }
  }
  order_for_threads(list.prefill, threads);
  return list;
}

}  // namespace raptly
