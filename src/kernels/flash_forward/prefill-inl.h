// The prefill driver. Splits are the outer loop, so that keys and values are
// staged once per split for all rows of the item; inside, groups of about 192
// lanes pass over a split's blocks together, so that a block stays in L2 while
// their panels use it.
#if defined(RAPTLY_FORWARD_PREFILL_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RAPTLY_FORWARD_PREFILL_INL_H
#undef RAPTLY_FORWARD_PREFILL_INL_H
#else
#define RAPTLY_FORWARD_PREFILL_INL_H
#endif

#include "base/floating_point_mode.h"
#include "kernels/flash_forward/block-inl.h"
#include "kernels/flash_forward/stage-inl.h"
#if RAPTLY_TARGET_ENABLED
RAPTLY_BEFORE_TARGET();
namespace raptly {
namespace RAPTLY_TARGET {

constexpr int kPanelsTogether = 192 / kPanelLanes;

struct PrefillMemory {
  QueryPanel* panels;
  std::int64_t max_panels;
  float *q, *total_o;  // [max_panels][dim][kPanelLanes]
  float* o;            // [kPanelsTogether][v_dim][kPanelLanes]
  float* scores;
  float* rows;
  float* bias_rows;  // kBiasRowFloats
  StageMemory stage;
};

inline PrefillMemory cut_prefill_memory(const FlashForwardSize& size, WorkspaceCutter& cutter) {
  const std::int64_t per_tile =
      round_up(std::int64_t{size.tile_queries} * size.group, kPanelLanes) / kPanelLanes;
  const std::int64_t keys = std::min(kSplitKeys, round_up(size.kv_len, kBlockKeys));
  const std::int64_t d = round_up(size.head_dim, kLanes), dv = round_up(size.v_dim, kLanes);
  PrefillMemory memory;
  memory.max_panels = per_tile * size.max_tiles;
  memory.panels = cutter.take<QueryPanel>(memory.max_panels);
  memory.q = cutter.take<float>(memory.max_panels * kPanelLanes * d);
  memory.total_o = cutter.take<float>(memory.max_panels * kPanelLanes * dv);
  memory.o = cutter.take<float>(kPanelsTogether * kPanelLanes * dv);
  memory.scores = cutter.take<float>(kBlockKeys * kPanelLanes);
  memory.rows = cutter.take<float>(kPanelLanes * std::max(d, dv));
  memory.bias_rows = cutter.take<float>(kBiasRowFloats);
  memory.stage.k = cutter.take<float>(keys * stage_stride(size.head_dim));
  memory.stage.v = cutter.take<float>(keys * stage_stride(size.v_dim));
  return memory;
}

inline FlashForwardSize size_of_item(const FlashForwardItem& item) {
  FlashForwardSize size;
  size.max_tiles = static_cast<std::int64_t>(item.tiles.size());
  for (const QueryTile& tile : item.tiles) {
    size.tile_queries = std::max(size.tile_queries, tile.n_queries);
  }
  size.group = item.group;
  size.kv_len = item.kv->length;
  size.head_dim = item.head_dim;
  size.v_dim = item.v_dim;
  return size;
}

// Returns the number of panels. pack(item, panel, rows) writes panel.q.
template <class Pack>
std::int64_t make_panels(const FlashForwardItem& item, const PrefillMemory& memory, Pack&& pack) {
  const std::int64_t d = round_up(item.head_dim, kLanes), dv = round_up(item.v_dim, kLanes);
  std::int64_t n = 0;
  for (const QueryTile& tile : item.tiles) {
    const int lanes = tile.n_queries * item.group;
    for (int first = 0; first < lanes; first += kPanelLanes, ++n) {
      QueryPanel& panel = memory.panels[n];
      panel.tile = &tile;
      panel.first_lane = first;
      panel.lanes = std::min(kPanelLanes, lanes - first);
      panel.vecs = (panel.lanes + kLanes - 1) / kLanes;
      panel.cursor = 0;
      panel.live = panel.any = false;
      panel.q = memory.q + n * kPanelLanes * d;
      panel.total_o = memory.total_o + n * kPanelLanes * dv;
      find_bits(item, panel);
      find_bias(item, panel);
      if (item.initial.at != nullptr) start_panel(item, panel);
      pack(item, panel, memory.rows);
    }
  }
  return n;
}

struct KeyRange {
  std::int64_t begin, end;
};

// f32 products of staged keys and values. Another engine has the same three
// members.
template <class T>
class F32Engine {
 public:
  F32Engine(const FlashForwardItem& item, const PrefillMemory& memory, std::int64_t n_panels)
      : context_{item,          item.head_dim,   item.v_dim, Softcap(item.softcap),
                 memory.scores, memory.bias_rows},
        stage_(item, memory.stage, n_panels >= 4) {}

  void start_split(std::int64_t first_key) { stage_.start_split(first_key); }

  // Keys of the block at first_key; bits as in TileSpan.
  void attend(QueryPanel& panel, std::int64_t first_key, const KeyRange& keys,
              const std::uint64_t* bits) {
    const StagedBlock& staged = stage_.block(first_key, keys.begin, keys.end);
    const std::int64_t row = keys.begin - first_key;
    const KeyBlock block{keys.begin,
                         staged.k + row * staged.k_stride,
                         staged.k_stride,
                         staged.v + row * staged.v_stride,
                         staged.v_stride,
                         static_cast<int>(keys.end - keys.begin),
                         bits};
    if (panel.vecs == 3) {
      attend_block<3>(context_, panel, block);
    } else if (panel.vecs == 2) {
      attend_block<2>(context_, panel, block);
    } else {
      attend_block<1>(context_, panel, block);
    }
  }

 private:
  BlockContext context_;
  Stage<T> stage_;
};

// The first block from the one at `from` on in which the panel's tile has a span.
inline std::int64_t next_block(QueryPanel& panel, std::int64_t from) {
  const auto spans = panel.tile->spans;
  const auto n = static_cast<std::int64_t>(spans.size());
  const auto at = [&]() -> const TileSpan& {
    return spans[static_cast<std::size_t>(panel.cursor)];
  };
  while (panel.cursor < n && at().first_key + at().n_keys <= from) ++panel.cursor;
  if (panel.cursor == n) return std::numeric_limits<std::int64_t>::max();
  return std::max(from, at().first_key / kBlockKeys * kBlockKeys);
}

// All spans of the panel's tile in the block at first_key.
template <class Engine>
void attend_panel(Engine& engine, QueryPanel& panel, std::int64_t first_key) {
  if (next_block(panel, first_key) != first_key) return;
  for (const TileSpan& span : panel.tile->spans.subspan(static_cast<std::size_t>(panel.cursor))) {
    if (span.first_key >= first_key + kBlockKeys) break;
    const std::int64_t begin = std::max(first_key, span.first_key);
    const std::int64_t end = std::min(first_key + kBlockKeys, span.first_key + span.n_keys);
    engine.attend(panel, first_key, {begin, end},
                  span.bits == nullptr ? nullptr : span.bits + (begin - span.first_key));
  }
}

inline KeyRange keys_of(const QueryPanel* panels, std::int64_t n) {
  KeyRange range{std::numeric_limits<std::int64_t>::max(), 0};
  for (std::int64_t i = 0; i < n; ++i) {
    if (panels[i].tile->spans.empty()) continue;
    const TileSpan& last = panels[i].tile->spans.back();
    range.begin = std::min(range.begin, panels[i].tile->spans.front().first_key);
    range.end = std::max(range.end, last.first_key + last.n_keys);
  }
  return range;
}

// One split for at most kPanelsTogether panels.
template <class Engine>
void attend_split(Engine& engine, const PrefillMemory& memory, std::span<QueryPanel> panels,
                  std::int64_t v_dim, std::int64_t split_begin) {
  const std::int64_t dv = round_up(v_dim, kLanes);
  const std::int64_t end = split_begin + kSplitKeys;
  const auto next_of_all = [&](std::int64_t from) {
    std::int64_t first = end;
    for (QueryPanel& panel : panels) first = std::min(first, next_block(panel, from));
    return first;
  };
  const std::int64_t begin = next_of_all(split_begin);
  if (begin >= end) return;
  float* o = memory.o;
  for (QueryPanel& panel : panels) {
    panel.live = false;
    panel.o = panel.any ? o : panel.total_o;
    o += kPanelLanes * dv;
    for (int lane = 0; lane < kPanelLanes; ++lane) {
      panel.m[lane] = -kScoreLimit;
      panel.l[lane] = 0;
    }
  }
  for (std::int64_t key = begin; key < end; key = next_of_all(key + kBlockKeys)) {
    for (QueryPanel& panel : panels) attend_panel(engine, panel, key);
  }
  for (QueryPanel& panel : panels) {
    if (!panel.live) continue;
    if (panel.vecs == 3) {
      merge_panel<3>(panel, v_dim);
    } else if (panel.vecs == 2) {
      merge_panel<2>(panel, v_dim);
    } else {
      merge_panel<1>(panel, v_dim);
    }
    panel.any = true;
  }
}

// The n panels of an item, packed.
template <class Engine>
void prefill_panels(const FlashForwardItem& item, const PrefillMemory& memory, std::int64_t n,
                    Engine& engine) {
  const KeyRange range = keys_of(memory.panels, n);
  for (std::int64_t split = range.begin / kSplitKeys * kSplitKeys; split < range.end;
       split += kSplitKeys) {
    engine.start_split(split);
    for (std::int64_t i = 0; i < n; i += kPanelsTogether) {
      const std::int64_t some = std::min<std::int64_t>(kPanelsTogether, n - i);
      attend_split(engine, memory, {memory.panels + i, static_cast<std::size_t>(some)}, item.v_dim,
                   split);
    }
  }
  for (std::int64_t i = 0; i < n; ++i) finish_panel(item, memory.panels[i], memory.rows);
}

template <class T>
void prefill_of(const FlashForwardItem& item, const PrefillMemory& memory) {
  const std::int64_t n = make_panels(item, memory, pack_panel);
  F32Engine<T> engine(item, memory, n);
  prefill_panels(item, memory, n, engine);
}

}  // namespace RAPTLY_TARGET
}  // namespace raptly
RAPTLY_AFTER_TARGET();
#endif
#endif
