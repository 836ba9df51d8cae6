#include "attention/work_list.h"

#include <algorithm>
#include <numeric>
#include <tuple>

namespace raptly {
namespace {

constexpr std::int64_t kItemsPerThread = 8;  // so that stealing single items evens out the threads
// Below 192 rows an item pays more than 3 % for staging keys and values that other items stage too;
// above 2048 its q and o leave L2.
constexpr std::int64_t kMinItemRows = 192, kMaxItemRows = 2048;
// Few rows for many threads are cut finer, down to this work, some 20 us at head_dim 128: waking a
// thread costs 5.
constexpr double kMinItemPairs = 64 * 128;

double pairs_of(const QueryTile& tile) {
  double keys = 0;
  for (const TileSpan& span : tile.spans) keys += static_cast<double>(span.n_keys);
  return keys * tile.n_queries;
}

double pairs_of(const TilePlan& plan) {
  double pairs = 0;
  for (const QueryTile& tile : plan.tiles()) pairs += pairs_of(tile);
  return pairs;
}

// The items of one sequence and head set: of so many tiles, or so many items of about equal cost.
struct Cut {
  std::int64_t tiles_per_item = 1;
  std::int64_t n_items = 0;  // 0: tiles_per_item counts
};

void add_prefill(WorkList& list, std::int64_t sequence, const TilePlan& plan,
                 std::int64_t first_head, const Cut& cut) {
  const auto n_tiles = static_cast<std::int64_t>(plan.tiles().size());
  const double share = cut.n_items == 0 ? 0 : pairs_of(plan) / static_cast<double>(cut.n_items);
  double before = 0, end_of_item = share;
  PrefillWork work{sequence, first_head, 0, 0, 0};
  for (std::int64_t t = 0; t < n_tiles; ++t) {
    const double pairs = pairs_of(plan.tiles()[static_cast<std::size_t>(t)]);
    const bool full = cut.n_items == 0 ? t - work.tile_begin == cut.tiles_per_item
                                       : before + pairs / 2 > end_of_item;
    if (full && work.tile_end > work.tile_begin) {
      list.add(work);
      work = {sequence, first_head, t, t, 0};
      end_of_item += share;
    }
    work.tile_end = t + 1;
    work.cost += pairs;
    before += pairs;
  }
  list.add(work);
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

namespace {

// How the prefill of a call is cut, told from all of its tiles.
class Cutter {
 public:
  Cutter(std::span<const PlannedSequence> sequences, const HeadSets& heads, int threads)
      : heads_(heads), threads_(threads), items_(kItemsPerThread * threads) {
    for (const PlannedSequence& s : sequences) {
      for (std::int64_t set = 0; set < heads.n_sets && !s.decode; ++set) {
        const auto n = static_cast<std::int64_t>(s.plan(set).tiles().size());
        if (n == 0) continue;
        tiles_ += n;
        ++plans_;
      }
    }
  }

  Cut operator()(const TilePlan& plan) const {
    const auto n_tiles = static_cast<std::int64_t>(plan.tiles().size());
    const std::int64_t tile_rows = plan.tiles()[0].n_queries * heads_.heads_per_set;
    const std::int64_t least = (kMinItemRows + tile_rows - 1) / tile_rows;
    const std::int64_t most = std::max(least, kMaxItemRows / tile_rows);
    const std::int64_t tiles_per_item = std::clamp(tiles_ / items_, least, most);
    // So few items of that size that threads would wait for each other: the fewest items that
    // share evenly.
    const std::int64_t n_items = plans_ * ((n_tiles + tiles_per_item - 1) / tiles_per_item);
    if (threads_ == 1 || n_items >= 4 * threads_) return {tiles_per_item, 0};
    const std::int64_t even = threads_ / std::gcd(plans_, std::int64_t{threads_});
    const double rows = static_cast<double>(heads_.heads_per_set);
    const auto by_work = static_cast<std::int64_t>(pairs_of(plan) * rows / kMinItemPairs);
    return {tiles_per_item, std::max<std::int64_t>(1, std::min({even, by_work, n_tiles}))};
  }

 private:
  const HeadSets& heads_;
  std::int64_t threads_, items_, tiles_ = 0, plans_ = 0;  // plans: of a sequence and head set
};

}  // namespace

void WorkList::add(const PrefillWork& work) {
  max_tiles = std::max(max_tiles, work.tile_end - work.tile_begin);
  prefill.push_back(work);
}

WorkList make_work_list(std::span<const PlannedSequence> sequences, const HeadSets& heads,
                        int threads) {
  WorkList list;
  std::int64_t splits = 0;
  for (const PlannedSequence& s : sequences) {
    for (std::int64_t set = 0; set < heads.n_sets && s.decode; ++set) {
      const auto [first, end] = split_range(s.plan(set));
      splits += end - first;
    }
  }
  const std::int64_t splits_per_item =
      std::max<std::int64_t>(1, splits / (2 * kItemsPerThread * threads));
  const Cutter cutter(sequences, heads, threads);
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    const auto sequence = static_cast<std::int64_t>(i);
    for (std::int64_t set = 0; set < heads.n_sets; ++set) {
      const TilePlan& plan = sequences[i].plan(set);
      const std::int64_t head = set * heads.heads_per_set;
      if (plan.tiles().empty()) continue;
      if (sequences[i].decode) {
        add_decode(list, sequence, plan, head, splits_per_item);
      } else {
        add_prefill(list, sequence, plan, head, cutter(plan));
      }
    }
  }
  order_for_threads(list.prefill, threads);
  return list;
}

}  // namespace raptly
