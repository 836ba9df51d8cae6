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
                 std::int64_t n_kv_heads, std::int64_t tiles_per_item) {
  const auto n_tiles = static_cast<std::int64_t>(plan.tiles().size());
  for (std::int64_t begin = 0; begin < n_tiles; begin += tiles_per_item) {
    PrefillWork work{sequence, 0, begin, std::min(begin + tiles_per_item, n_tiles), 0};
    for (std::int64_t t = begin; t < work.tile_end; ++t) {
      work.cost += pairs_of(plan.tiles()[static_cast<std::size_t>(t)]);
    }
    list.max_tiles = std::max(list.max_tiles, work.tile_end - begin);
    for (work.kv_head = 0; work.kv_head < n_kv_heads; ++work.kv_head) list.prefill.push_back(work);
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
                std::int64_t n_kv_heads, std::int64_t splits_per_item) {
  const auto [first, end] = split_range(plan);
  for (std::int64_t head = 0; head < n_kv_heads; ++head) {
    const auto merge = static_cast<std::int64_t>(list.merges.size());
    list.merges.push_back({sequence, head, first, end - first, list.n_states});
    list.n_states += end - first;
    std::int64_t split = first;
    do {  // one item even when nothing is visible: it writes the empty rows
      list.decode.push_back({merge, split, std::min(split + splits_per_item, end)});
      split += splits_per_item;
    } while (split < end);
  }
}

// Longest first for every thread: the sorted items are dealt to the threads' static ranges in turn.
void order_for_threads(std::vector<PrefillWork>& work, int threads) {
  std::sort(work.begin(), work.end(), [](const PrefillWork& a, const PrefillWork& b) {
    return std::tie(b.cost, a.sequence, a.kv_head, a.tile_begin) <
           std::tie(a.cost, b.sequence, b.kv_head, b.tile_begin);
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

WorkList make_work_list(std::span<const PlannedSequence> sequences, const AttentionShape& shape,
                        int threads) {
  WorkList list;
  const std::int64_t group = shape.n_heads / std::max<std::int64_t>(1, shape.n_kv_heads);
  const std::int64_t items = kItemsPerThread * threads;
  std::int64_t tiles = 0, splits = 0;
  for (const PlannedSequence& s : sequences) {
    if (s.decode) {
      const auto [first, end] = split_range(*s.tiles);
      splits += (end - first) * shape.n_kv_heads;
    } else {
      tiles += static_cast<std::int64_t>(s.tiles->tiles().size()) * shape.n_kv_heads;
    }
  }
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    const TilePlan& plan = *sequences[i].tiles;
    if (plan.tiles().empty()) continue;
    const auto sequence = static_cast<std::int64_t>(i);
    if (sequences[i].decode) {
      add_decode(list, sequence, plan, shape.n_kv_heads,
                 std::max<std::int64_t>(1, splits / (2 * items)));
    } else {
      const std::int64_t tile_rows = plan.tiles()[0].n_queries * group;
      const std::int64_t least = (kMinItemRows + tile_rows - 1) / tile_rows;
      const std::int64_t most = std::max(least, kMaxItemRows / tile_rows);
      add_prefill(list, sequence, plan, shape.n_kv_heads, std::clamp(tiles / items, least, most));
    }
  }
  order_for_threads(list.prefill, threads);
  return list;
}

}  // namespace raptly
