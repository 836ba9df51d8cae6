// The bias of a panel of prefill, lane = query: added to the scores [keys][lanes] of a block.
//   distances   |position - key position| in the lanes' registers
//   table rows  where queries and keys stand side by side, the lanes of a key are neighbours in a
//               table turned round, by_query: read where they lie
//   values      anything else: rows as decode has them, transposed
#if defined(RAPTLY_PANEL_BIAS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RAPTLY_PANEL_BIAS_INL_H
#undef RAPTLY_PANEL_BIAS_INL_H
#else
#define RAPTLY_PANEL_BIAS_INL_H
#endif

#include "kernels/flash_forward/bias-inl.h"
#if RAPTLY_TARGET_ENABLED
RAPTLY_BEFORE_TARGET();
namespace raptly {
namespace RAPTLY_TARGET {

// Scratch: rows of values of kLanes lanes. 16 more than a block, or all rows would share the sets
// of L1.
constexpr std::int64_t kBiasRow = kBlockKeys + 16;
constexpr std::int64_t kBiasRowFloats = kLanes * kBiasRow;

inline void find_bias(const FlashForwardItem& item, QueryPanel& panel) {
  if (item.bias == nullptr) return;
  const ScoreBias& bias = *item.bias;
  const bool placed = bias.kind != BiasKind::kDense;
  const RowOfItem first = row_of_lane(item, *panel.tile, panel.first_lane);
  const RowOfItem last = row_of_lane(item, *panel.tile, panel.first_lane + panel.lanes - 1);
  const std::int64_t n_queries = last.query - first.query + 1;
  panel.first_position = placed ? mask_detail::query_position(bias.scope, first.query) : 0;
  panel.on_line = placed && (bias.scope.placement == nullptr ||
                             bias.scope.placement->query_line(first.query, n_queries) == n_queries);
  panel.near = true;
  for (int lane = 0; lane < panel.vecs * kLanes; ++lane) {
    panel.position[lane] = panel.bias_factor[lane] = 0;
    if (lane >= panel.lanes) continue;
    const RowOfItem row = row_of_lane(item, *panel.tile, panel.first_lane + lane);
    panel.bias_factor[lane] = bias_factor(bias, row.head);
    if (!placed) continue;
    const std::int64_t distance =
        mask_detail::query_position(bias.scope, row.query) - panel.first_position;
    panel.near = panel.near && std::abs(distance) <= kExactPositions;
    panel.position[lane] = static_cast<float>(distance);
  }
}

// The keys' positions, counted as those of the panel; false: too far away to be exact.
inline bool positions_from(const QueryPanel& panel, const KeyPositions& keys, float* out) {
  if (!panel.near) return false;
  if (keys.on_line) {
    const std::int64_t first = keys.first - panel.first_position;
    if (std::abs(first) + keys.n > kExactPositions) return false;
    const Vf from = set(static_cast<float>(first));
    for (int i = 0; i < keys.n; i += kLanes) store(add(from, load(steps() + i)), out + i);
    return true;
  }
  for (int i = 0; i < keys.n; ++i) {
    const std::int64_t distance = keys.list[i] - panel.first_position;
    if (std::abs(distance) > kExactPositions) return false;
    out[i] = static_cast<float>(distance);
  }
  return true;
}

// What else happens to a score while the bias has it in a register: nothing,
struct PlainScores {
  RAPTLY_INLINE Vf before(Vf s) const { return s; }
  template <int kVec>
  RAPTLY_INLINE void after(Vf) const {}
};
// or a dot product gets its scale, and the largest score of each lane is found. NaN is dropped.
struct DotScores {
  Vf scale, best[kPanelVecs];
  explicit DotScores(float by) : scale(set(by)) {
    for (Vf& b : best) b = set(kMinusInfinity);
  }
  RAPTLY_INLINE Vf before(Vf s) const { return mul(s, scale); }
  template <int kVec>
  RAPTLY_INLINE void after(Vf s) {
    best[kVec] = max(s, best[kVec]);
  }
};

template <int kVecs, class With>
void add_distances(const QueryPanel& panel, const float* positions, int n, With& with,
                   float* scores) {
  With own = with;  // a copy stays in registers
  Vf query[kVecs], factor[kVecs];
  each<kVecs>([&](auto j) RAPTLY_LAMBDA {
    query[j] = load(panel.position + j * kLanes);
    factor[j] = load(panel.bias_factor + j * kLanes);
  });
  for (int key = 0; key < n; ++key, scores += kVecs * kLanes) {
    const Vf at = set(positions[key]);
    each<kVecs>([&](auto j) RAPTLY_LAMBDA {
      float* to = scores + j * kLanes;
      const Vf s = fma(abs(sub(query[j], at)), factor[j], own.before(load(to)));
      own.template after<j>(s);
      store(s, to);
    });
  }
  with = own;
}

// The lanes of the first key; each further key is `group` entries lower. Null: not side by side.
inline const float* table_of_panel(const FlashForwardItem& item, const QueryPanel& panel,
                                   const KeyPositions& keys) {
  const ScoreBias& bias = *item.bias;
  if (bias.by_query == nullptr || !panel.on_line || !keys.on_line) return nullptr;
  const std::int64_t queries = (panel.stride() + item.group - 1) / item.group;
  static_assert(kPanelLanes + 1 + kBlockKeys < bias_detail::kTablePad);
  // Distance of lane 0 from the first key; with all lanes and keys, from offset - n to offset +
  // queries.
  const std::int64_t offset = std::clamp(panel.first_position - keys.first,
                                         -bias.reach - 1 - queries, bias.reach + 1 + keys.n);
  const std::int64_t set = item.first_head / item.group;
  return bias.by_query +
         (set * bias.table_row + bias_detail::kTablePad + bias.reach + offset) * item.group +
         panel.first_lane % item.group;
}

template <int kVecs, class With>
void add_table_rows(const QueryPanel& panel, const float* lanes, std::int64_t key_step, int n,
                    With& with, float* scores) {
  With own = with;
  Vf factor[kVecs];
  each<kVecs>([&](auto j) RAPTLY_LAMBDA { factor[j] = load(panel.bias_factor + j * kLanes); });
  for (int key = 0; key < n; ++key, scores += kVecs * kLanes, lanes -= key_step) {
    each<kVecs>([&](auto j) RAPTLY_LAMBDA {
      float* to = scores + j * kLanes;
      const Vf s = fma(load(lanes + j * kLanes), factor[j], own.before(load(to)));
      own.template after<j>(s);
      store(s, to);
    });
  }
  with = own;
}

// rows: [kLanes][kBiasRow], of vector `vec`. True if some value may be -inf.
inline bool fill_panel_values(const FlashForwardItem& item, const QueryPanel& panel,
                              const KeyPositions& keys, int vec, float* rows) {
  bool hides = false;
  for (int i = 0; i < kLanes; ++i, rows += kBiasRow) {
    const int lane = vec * kLanes + i;
    if (lane < panel.lanes) {
      const RowOfItem row = row_of_lane(item, *panel.tile, panel.first_lane + lane);
      hides |= fill_bias_values(*item.bias, row, keys, rows);
    } else {
      std::memset(rows, 0, static_cast<std::size_t>(kBlockKeys) * sizeof(float));
    }
  }
  return hides;
}

// True if some value may be -inf.
template <int kVecs, class With>
bool add_values_of_bias(const FlashForwardItem& item, const QueryPanel& panel,
                        const KeyPositions& keys, float* rows, With& with, float* scores) {
  bool any_hides = false;
  With own = with;
  each<kVecs>([&](auto j) RAPTLY_LAMBDA {
    const bool hides = fill_panel_values(item, panel, keys, j, rows);
    const Vf factor = load(panel.bias_factor + j * kLanes);
    const auto add = [&](auto hiding) RAPTLY_LAMBDA {
      for (int c = 0; c < keys.n; c += kTransposeColumns<float>) {
        transpose_step(rows + c, kBiasRow, [&](auto k, const Vf& value) RAPTLY_LAMBDA {
          float* to = scores + (c + k) * kVecs * kLanes + j * kLanes;
          const Vf before = own.before(load(to));
          const Vf s = hiding ? biased(before, value, factor) : fma(value, factor, before);
          own.template after<j>(s);
          store(s, to);
        });
      }
    };
    if (hides) {
      add(std::true_type());
    } else {
      add(std::false_type());
    }
    any_hides |= hides;
  });
  with = own;
  return any_hides;
}

// Scores [n rounded up to 8][kVecs * kLanes] of keys [first_key, first_key + n). rows:
// kBiasRowFloats of scratch. True if the bias may hide some pair.
template <int kVecs, class With>
bool add_bias(const FlashForwardItem& item, const QueryPanel& panel, const KeyPositions& keys,
              float* rows, With& with, float* scores) {
  if (item.bias->kind == BiasKind::kDistance && positions_from(panel, keys, rows)) {
    add_distances<kVecs>(panel, rows, keys.n, with, scores);
    return false;
  }
  if (item.bias->kind == BiasKind::kOffset) {
    if (const float* lanes = table_of_panel(item, panel, keys)) {
      add_table_rows<kVecs>(panel, lanes, item.group, keys.n, with, scores);
      return false;
    }
  }
  return add_values_of_bias<kVecs>(item, panel, keys, rows, with, scores);
}

template <int kVecs>
bool add_bias(const FlashForwardItem& item, const QueryPanel& panel, const KeyPositions& keys,
              float* rows, float* scores) {
  PlainScores plain;
  return add_bias<kVecs>(item, panel, keys, rows, plain, scores);
}

// Fetches a dense bias of lanes [begin, end) into L2, while the scores are computed: a block takes
// 512 bytes or less of each row, too little for the hardware to follow.
inline void fetch_bias(const FlashForwardItem& item, const QueryPanel& panel,
                       const KeyPositions& keys, int begin, int end) {
  const ScoreBias& bias = *item.bias;
  const auto size = static_cast<std::int64_t>(dtype_size(bias.dtype));
  for (int lane = begin; lane < std::min(end, panel.lanes); ++lane) {
    const RowOfItem row = row_of_lane(item, *panel.tile, panel.first_lane + lane);
    const std::byte* at = static_cast<const std::byte*>(bias.data) +
                          (row.head * bias.head_stride + row.query * bias.query_stride +
                           keys.first_key * bias.key_stride) *
                              size;
    for (std::int64_t i = 0; i < keys.n * size; i += 64) __builtin_prefetch(at + i, 0, 2);
  }
}
inline bool fetches_bias(const FlashForwardItem& item) {
  return item.bias != nullptr && item.bias->kind == BiasKind::kDense && item.bias->key_stride == 1;
}

// hidden[key]: bit i says that the bias hides the key from lane i. For the rare blocks that need
// it.
inline void find_hidden_lanes(const FlashForwardItem& item, const QueryPanel& panel,
                              const KeyPositions& keys, float* rows, std::uint64_t* hidden) {
  for (int key = 0; key < keys.n; ++key) hidden[key] = 0;
  for (int j = 0; j < panel.vecs; ++j) {
    fill_panel_values(item, panel, keys, j, rows);
    for (int i = 0; i < kLanes; ++i) {
      for (int key = 0; key < keys.n; ++key) {
        const auto is_hidden =
            static_cast<std::uint64_t>(rows[i * kBiasRow + key] == kMinusInfinity);
        hidden[key] |= is_hidden << (j * kLanes + i);
      }
    }
  }
}

}  // namespace RAPTLY_TARGET
}  // namespace raptly
RAPTLY_AFTER_TARGET();
#endif
#endif
