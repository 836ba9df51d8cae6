#if defined(RAPTLY_ROW_STATISTICS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RAPTLY_ROW_STATISTICS_INL_H
#undef RAPTLY_ROW_STATISTICS_INL_H
#else
#define RAPTLY_ROW_STATISTICS_INL_H
#endif

#include <algorithm>

#include "kernels/flash_forward/prefill-inl.h"
#include "kernels/row_statistics/row_statistics.h"
#if RAPTLY_TARGET_ENABLED
RAPTLY_BEFORE_TARGET();
namespace raptly {
namespace RAPTLY_TARGET {

// What is known of the rows of a panel.
struct PanelStatistics {
  alignas(64) float lse[kPanelLanes];        // in log2 units; +inf where the row sees nothing
  alignas(64) float entropy[kPanelLanes];    // in log2 units
  alignas(64) float best[kPanelLanes];       // the largest score
  alignas(64) float threshold[kPanelLanes];  // the last of the top scores
};

struct StatisticsMemory {
  PrefillMemory prefill;
  PanelStatistics* panels;
  float* mass;  // [kSplitKeys][16]: by query mod 16
};

inline StatisticsMemory cut_statistics_memory(const FlashForwardSize& size,
                                              WorkspaceCutter& cutter) {
  StatisticsMemory memory;
  memory.prefill = cut_prefill_memory(size, cutter);
  memory.panels = cutter.take<PanelStatistics>(memory.prefill.max_panels);
  memory.mass = cutter.take<float>(kSplitKeys * 16);
  return memory;
}

std::size_t statistics_workspace_bytes(const FlashForwardSize& size) {
  WorkspaceCutter cutter(nullptr);
  cut_statistics_memory(size, cutter);
  return cutter.used();
}

// The scores of a panel's spans, given to use(panel, first key, number of keys, scores
// [keys][lanes]); hidden ones are -inf.
template <class T, class Use>
class ScoreEngine {
 public:
  ScoreEngine(const FlashForwardItem& item, const PrefillMemory& memory, Use use)
      : item_(item),
        scores_(memory.scores),
        bias_rows_(memory.bias_rows),
        softcap_(item.softcap),
        stage_(item, memory.stage, false),
        use_(use) {}

  void start_split(std::int64_t first_key) { stage_.start_split(first_key); }
  void attend(QueryPanel& panel, std::int64_t first_key, const KeyRange& keys,
              const std::uint64_t* bits) {
    const StagedBlock& staged = stage_.block(first_key, keys.begin, keys.end);
    const std::int64_t row = keys.begin - first_key;
    const KeyBlock block{keys.begin,
                         staged.k + row * staged.k_stride,
                         staged.k_stride,
                         nullptr,
                         0,
                         static_cast<int>(keys.end - keys.begin),
                         bits};
    if (panel.vecs == 3) {
      score<3>(panel, block);
    } else if (panel.vecs == 2) {
      score<2>(panel, block);
    } else {
      score<1>(panel, block);
    }
    use_(panel, keys.begin, block.n, scores_);
  }

 private:
  template <int kVecs>
  void score(const QueryPanel& panel, const KeyBlock& block) {
    constexpr int kStride = kVecs * kLanes;
    mm_rows<kVecs, false>(block.n, Broadcasts{block.k, block.k_stride, 1},
                          LaneRows<float>{panel.q, kStride}, Sums{scores_, kStride},
                          item_.head_dim);
    if (softcap_.given()) {
      for (int i = 0; i < block.n * kVecs; ++i) {
        store(softcap_(load(scores_ + i * kLanes)), scores_ + i * kLanes);
      }
    }
    if (item_.bias != nullptr) {
      const KeyPositions keys(*item_.bias, block.first_key, block.n);
      add_bias<kVecs>(item_, panel, keys, bias_rows_, scores_);
    }
    if (block.bits != nullptr) mask_scores<kVecs>(panel, block, scores_);
  }

  const FlashForwardItem& item_;
  float* scores_;
  float* bias_rows_;
  Softcap softcap_;
  Stage<T> stage_;
  Use use_;
};

inline float lse_of_row(const FlashForwardItem& item, const RowOfItem& row) {
  return item.lse[row.head * item.lse_head_stride + row.query * item.lse_token_stride];
}

inline void start_statistics(const FlashForwardItem& item, const QueryPanel& panel,
                             PanelStatistics& of) {
  for (int lane = 0; lane < kPanelLanes; ++lane) {
    float lse = kMinusInfinity;
    if (lane < panel.lanes) {
      lse = lse_of_row(item, row_of_lane(item, *panel.tile, panel.first_lane + lane));
    }
    of.lse[lane] = lse == kMinusInfinity ? -kMinusInfinity : lse * kLog2E;
    of.entropy[lane] = 0;
    of.best[lane] = of.threshold[lane] = kMinusInfinity;
  }
}

// The scores of one row that are largest so far, descending, in the row's own output.
class TopList {
 public:
  TopList(const RowStatisticsItem& item, const RowOfItem& row)
      : n_(item.top_k),
        index_(item.top_index + (row.head * item.q_len + row.query) * n_),
        score_(item.top_weight + (row.head * item.q_len + row.query) * n_) {}

  void clear() {
    std::fill_n(index_, n_, -1);
    std::fill_n(score_, n_, kMinusInfinity);
  }
  // score is above the last; equal scores stay behind those that came first. Returns the new last.
  float insert(float score, std::int64_t key) {
    int at = n_ - 1;
    for (; at > 0 && score > score_[at - 1]; --at) {
      score_[at] = score_[at - 1];
      index_[at] = index_[at - 1];
    }
    score_[at] = score;
    index_[at] = key;
    return score_[n_ - 1];
  }
  void finish(float lse) {
    const bool is_nan = lse != lse;
    for (int i = 0; i < n_; i += kLanes) {
      const std::int64_t n = std::min(kLanes, n_ - i);
      const Vf t = sub(load_first(score_ + i, n), set(lse));
      store_first(pow2(t, Pow2Base(zero())), score_ + i, n);
    }
    for (int i = 0; is_nan && i < n_; ++i) index_[i] = -1;
  }

 private:
  int n_;
  std::int64_t* index_;
  float* score_;
};

template <int kVecs>
void collect_block(const RowStatisticsItem& item, const QueryPanel& panel, PanelStatistics& of,
                   std::int64_t first_key, int n, const float* scores) {
  for (int j = 0; j < kVecs; ++j) {
    const int at = j * kLanes;
    const Vf lse = load(of.lse + at);
    Vf entropy = zero(), best = load(of.best + at), threshold = load(of.threshold + at);
    for (int key = 0; key < n; ++key) {
      const Vf s = load(scores + key * kVecs * kLanes + at);
      const Vf t = max(set(-127.0f), sub(s, lse));
      entropy = fma(pow2(t, Pow2Base(zero())), sub(zero(), t), entropy);
      best = max(s, best);
      if (item.top_k == 0 || !any(gt(s, threshold))) continue;
      for (int lane = at; lane < at + kLanes && lane < panel.lanes; ++lane) {
        const float score = scores[key * kVecs * kLanes + lane];
        if (!(score > of.threshold[lane])) continue;
        TopList top(item, row_of_lane(item.rows, *panel.tile, panel.first_lane + lane));
        of.threshold[lane] = top.insert(score, first_key + key);
      }
      threshold = load(of.threshold + at);
    }
    store(add(load(of.entropy + at), entropy), of.entropy + at);
    store(best, of.best + at);
  }
}

inline void finish_statistics(const RowStatisticsItem& item, const QueryPanel& panel,
                              const PanelStatistics& of) {
  constexpr double kLn2 = 0.6931471805599453;
  for (int lane = 0; lane < panel.lanes; ++lane) {
    const RowOfItem row = row_of_lane(item.rows, *panel.tile, panel.first_lane + lane);
    const float lse = of.lse[lane];
    if (item.entropy != nullptr) {
      item.entropy[row.head * item.entropy_head_stride + row.query * item.entropy_token_stride] =
          lse != lse ? lse : static_cast<float>(static_cast<double>(of.entropy[lane]) * kLn2);
    }
    if (item.max != nullptr) {
      item.max[row.head * item.max_head_stride + row.query * item.max_token_stride] =
          lse != lse ? lse : static_cast<float>(static_cast<double>(of.best[lane]) * kLn2);
    }
    if (item.top_k > 0) TopList(item, row).finish(lse);
  }
}

template <class T>
void row_statistics_of(const RowStatisticsItem& item, const StatisticsMemory& memory) {
  const std::int64_t n = make_panels(item.rows, memory.prefill, pack_panel);
  QueryPanel* panels = memory.prefill.panels;
  for (std::int64_t i = 0; i < n; ++i) {
    start_statistics(item.rows, panels[i], memory.panels[i]);
    for (int lane = 0; item.top_k > 0 && lane < panels[i].lanes; ++lane) {
      TopList(item, row_of_lane(item.rows, *panels[i].tile, panels[i].first_lane + lane)).clear();
    }
  }
  const auto use = [&](const QueryPanel& panel, std::int64_t first_key, int n_keys,
                       const float* scores) {
    PanelStatistics& of = memory.panels[&panel - panels];
    if (panel.vecs == 3) {
      collect_block<3>(item, panel, of, first_key, n_keys, scores);
    } else if (panel.vecs == 2) {
      collect_block<2>(item, panel, of, first_key, n_keys, scores);
    } else {
      collect_block<1>(item, panel, of, first_key, n_keys, scores);
    }
  };
  ScoreEngine<T, decltype(use)> engine(item.rows, memory.prefill, use);
  const KeyRange range = keys_of(panels, n);
  for (std::int64_t split = range.begin / kSplitKeys * kSplitKeys; split < range.end;
       split += kSplitKeys) {
    engine.start_split(split);
    const std::int64_t end = std::min(split + kSplitKeys, range.end);
    for (std::int64_t key = split; key < end; key += kBlockKeys) {
      for (std::int64_t i = 0; i < n; ++i) attend_panel(engine, panels[i], key);
    }
  }
  for (std::int64_t i = 0; i < n; ++i) finish_statistics(item, panels[i], memory.panels[i]);
}

// p of a block's keys, added up by query mod 16.
template <int kVecs>
void add_mass(const QueryPanel& panel, const PanelStatistics& of, int n, const float* scores,
              float* mass) {
  for (int key = 0; key < n; ++key, mass += 16) {
    for (int j = 0; j < kVecs; ++j) {
      const Vf s = load(scores + (key * kVecs + j) * kLanes);
      const Vf p = pow2(sub(s, load(of.lse + j * kLanes)), Pow2Base(zero()));
      const Vf seen = select(eq(s, set(kMinusInfinity)), zero(), p);  // a row's NaN stays its own
      float* sum = mass + (panel.first_lane + j * kLanes) % 16;
      store(add(load(sum), seen), sum);
    }
  }
}

// One tile of queries against the keys of the item.
template <class Engine>
void mass_of_tile(const ColumnMassItem& item, const QueryTile& tile, Engine& engine,
                  const StatisticsMemory& memory) {
  const std::int64_t end = item.first_key + item.n_keys;
  if (tile.spans.empty()) return;
  const TileSpan& last = tile.spans.back();
  if (tile.spans.front().first_key >= end || last.first_key + last.n_keys <= item.first_key) return;
  FlashForwardItem rows = item.rows;
  rows.tiles = std::span(&tile, 1);
  const std::int64_t n = make_panels(rows, memory.prefill, pack_panel);
  for (std::int64_t i = 0; i < n; ++i) {
    QueryPanel& panel = memory.prefill.panels[i];
    start_statistics(rows, panel, memory.panels[i]);
    for (std::int64_t key = item.first_key; key < end; key += kBlockKeys) {
      attend_panel(engine, panel, key);
    }
  }
}

template <class T>
void column_mass_of(const ColumnMassItem& item, const StatisticsMemory& memory) {
  std::fill_n(memory.mass, item.n_keys * 16, 0.0f);
  const auto use = [&](const QueryPanel& panel, std::int64_t first_key, int n_keys,
                       const float* scores) {
    const PanelStatistics& of = memory.panels[&panel - memory.prefill.panels];
    float* mass = memory.mass + (first_key - item.first_key) * 16;
    if (panel.vecs == 3) {
      add_mass<3>(panel, of, n_keys, scores, mass);
    } else if (panel.vecs == 2) {
      add_mass<2>(panel, of, n_keys, scores, mass);
    } else {
      add_mass<1>(panel, of, n_keys, scores, mass);
    }
  };
  ScoreEngine<T, decltype(use)> engine(item.rows, memory.prefill, use);
  engine.start_split(item.first_key / kSplitKeys * kSplitKeys);
  for (const QueryTile& tile : item.rows.tiles) mass_of_tile(item, tile, engine, memory);
  for (std::int64_t key = 0; key < item.n_keys; ++key) {
    float* sum = memory.mass + key * 16;
    for (int half = 8; half > 0; half /= 2) {
      for (int i = 0; i < half; ++i) sum[i] += sum[i + half];
    }
    item.mass[item.rows.first_head * item.mass_head_stride +
              (item.first_key + key) * item.mass_key_stride] = sum[0];
  }
}

// max_tiles: that are packed at a time.
template <class Run>
void with_statistics_memory(const FlashForwardItem& rows, std::int64_t max_tiles,
                            std::byte* workspace, Run&& run) {
  const FloatingPointMode mode;
  WorkspaceCutter cutter(workspace);
  FlashForwardSize size = size_of_item(rows);
  size.max_tiles = max_tiles;
  run(cut_statistics_memory(size, cutter));
}

void row_statistics_rows(const RowStatisticsItem& item, std::byte* workspace) noexcept {
  const auto n_tiles = static_cast<std::int64_t>(item.rows.tiles.size());
  with_statistics_memory(item.rows, n_tiles, workspace, [&](const StatisticsMemory& memory) {
    switch (item.rows.kv->dtype) {
      case DType::kF16:
        return row_statistics_of<F16>(item, memory);
      case DType::kBf16:
        return row_statistics_of<Bf16>(item, memory);
      default:
        return row_statistics_of<float>(item, memory);
    }
  });
}

void column_mass_keys(const ColumnMassItem& item, std::byte* workspace) noexcept {
  with_statistics_memory(item.rows, 1, workspace, [&](const StatisticsMemory& memory) {
    switch (item.rows.kv->dtype) {
      case DType::kF16:
        return column_mass_of<F16>(item, memory);
      case DType::kBf16:
        return column_mass_of<Bf16>(item, memory);
      default:
        return column_mass_of<float>(item, memory);
    }
  });
}

}  // namespace RAPTLY_TARGET
}  // namespace raptly
RAPTLY_AFTER_TARGET();
#endif
#endif
