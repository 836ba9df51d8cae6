// A panel: up to kPanelLanes rows of one tile, one row a lane (lane = query * group + head).
#if defined(RAPTLY_FORWARD_PANEL_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RAPTLY_FORWARD_PANEL_INL_H
#undef RAPTLY_FORWARD_PANEL_INL_H
#else
#define RAPTLY_FORWARD_PANEL_INL_H
#endif

#include "kernels/flash_forward/flash_forward.h"
#include "kernels/flash_forward/rows-inl.h"
#include "kernels/flash_forward/workspace.h"
#include "kernels/simd/transpose-inl.h"
#include "kernels/softmax_state/softmax_state-inl.h"
#if RAPTLY_TARGET_ENABLED
RAPTLY_BEFORE_TARGET();
namespace raptly {
namespace RAPTLY_TARGET {

constexpr int kPanelVecs = 3;
constexpr int kPanelLanes = kPanelVecs * kLanes;

struct QueryPanel {
  const QueryTile* tile;
  int first_lane;  // within the tile
  int lanes;       // rows; the lanes above them, up to vecs * kLanes, hold zeros
  int vecs;
  std::int64_t cursor;  // span of the tile at which the next block is looked for
  bool live;            // o holds something of this split
  bool any;             // total_o holds something
  float* q;             // [head_dim][vecs * kLanes], times scale * log2 e
  float* o;             // [v_dim][vecs * kLanes], of this split
  float* total_o;       // of the splits before
  alignas(64) float m[kPanelLanes], l[kPanelLanes], total_m[kPanelLanes], total_l[kPanelLanes];
  // The bit of each lane's query in the low and high half of a key's bits.
  alignas(64) std::uint32_t bit_low[kPanelLanes], bit_high[kPanelLanes];
  std::uint64_t vec_bits[kPanelVecs];  // of the queries of each vector
  // With a bias (panel_bias-inl.h): each lane's factor and position.
  alignas(64) float bias_factor[kPanelLanes], position[kPanelLanes];
  std::int64_t first_position;  // of lane 0; position counts from it
  bool near;                    // position is exact
  bool on_line;                 // its queries stand side by side

  std::int64_t stride() const { return static_cast<std::int64_t>(vecs) * kLanes; }
};

struct RowOfItem {
  std::int64_t query;  // within the sequence
  std::int64_t head;
};
inline RowOfItem row_of_lane(const FlashForwardItem& item, const QueryTile& tile, int lane) {
  return {tile.first_query + lane / item.group, item.first_head + lane % item.group};
}

template <class T>
void read_query(const FlashForwardItem& item, const RowOfItem& row, float* out) {
  const T* q = static_cast<const T*>(item.q) + row.query * item.q_token_stride +
               row.head * item.q_head_stride;
  widen_row(q, item.q_dim_stride, item.head_dim, out);
  const Vf scale = set(static_cast<float>(item.scale) * kLog2E);
  for (int c = 0; c < item.head_dim; c += kLanes) store(mul(load(out + c), scale), out + c);
}

// out: head_dim rounded up to kLanes, the end zero before and after.
inline void read_scaled_query(const FlashForwardItem& item, const RowOfItem& row, float* out) {
  switch (item.q_dtype) {
    case DType::kF16:
      return read_query<F16>(item, row, out);
    case DType::kBf16:
      return read_query<Bf16>(item, row, out);
    default:
      return read_query<float>(item, row, out);
  }
}

inline float* state_of_row(const RowStates& states, const RowOfItem& row) {
  return states.at + row.query * states.query_stride + row.head * states.head_stride;
}

// out and lse of a row from its final state, or that state; o [v_dim] dense.
inline void finish_row(const FlashForwardItem& item, const RowOfItem& row, const float* o, float m,
                       float l) {
  if (item.final.at != nullptr) {
    float* state = state_of_row(item.final, row);
    state[0] = l == 0 ? -kScoreLimit : m;
    state[1] = l;
    std::memcpy(state + 16, o, static_cast<std::size_t>(item.v_dim) * sizeof(float));
    return;
  }
  const std::int64_t at = row.query * item.out_token_stride + row.head * item.out_head_stride;
  const RowEnd end(m, l, item.sinks == nullptr ? kMinusInfinity : item.sinks[row.head]);
  const float factor = end.factor;
  switch (item.out_dtype) {
    case DType::kF16:
      write_row(o, factor, item.v_dim, static_cast<F16*>(item.out) + at, item.out_dim_stride);
      break;
    case DType::kBf16:
      write_row(o, factor, item.v_dim, static_cast<Bf16*>(item.out) + at, item.out_dim_stride);
      break;
    default:
      write_row(o, factor, item.v_dim, static_cast<float*>(item.out) + at, item.out_dim_stride);
  }
  if (item.lse != nullptr) {
    item.lse[row.head * item.lse_head_stride + row.query * item.lse_token_stride] = end.lse;
  }
}

// Lanes without a row have no bit: partial blocks hide every key from them.
inline void find_bits(const FlashForwardItem& item, QueryPanel& panel) {
  for (std::uint64_t& bits : panel.vec_bits) bits = 0;
  for (int lane = 0; lane < panel.vecs * kLanes; ++lane) {
    const std::uint64_t bit =
        lane < panel.lanes ? std::uint64_t{1} << (panel.first_lane + lane) / item.group : 0;
    panel.bit_low[lane] = static_cast<std::uint32_t>(bit);
    panel.bit_high[lane] = static_cast<std::uint32_t>(bit >> 32);
    panel.vec_bits[lane / kLanes] |= bit;
  }
}

// rows: scratch for kLanes rows of head_dim rounded up to kLanes.
inline void pack_panel(const FlashForwardItem& item, QueryPanel& panel, float* rows) {
  const std::int64_t width = round_up(item.head_dim, kLanes);
  std::memset(rows, 0, static_cast<std::size_t>(width * kLanes) * sizeof(float));
  for (int vec = 0; vec < panel.vecs; ++vec) {
    for (int i = 0; i < kLanes; ++i) {
      const int lane = vec * kLanes + i;
      float* row = rows + i * width;
      if (lane < panel.lanes) {
        read_scaled_query(item, row_of_lane(item, *panel.tile, panel.first_lane + lane), row);
      } else {
        std::memset(row, 0, static_cast<std::size_t>(width) * sizeof(float));
      }
    }
    transpose(RowSource<float>{rows, width}, round_up(item.head_dim, 4), panel.q + vec * kLanes,
              panel.stride());
  }
}

// The panel's total starts as the initial states of its rows.
inline void start_panel(const FlashForwardItem& item, QueryPanel& panel) {
  panel.any = true;
  const std::int64_t stride = panel.stride();
  for (int lane = 0; lane < stride; ++lane) {
    const bool is_row = lane < panel.lanes;
    const float* state =
        is_row ? state_of_row(item.initial, row_of_lane(item, *panel.tile, panel.first_lane + lane))
               : nullptr;
    panel.total_m[lane] = is_row ? state[0] : -kScoreLimit;
    panel.total_l[lane] = is_row ? state[1] : 0.0f;
    for (int c = 0; c < item.v_dim; ++c) {
      panel.total_o[c * stride + lane] = is_row ? state[16 + c] : 0.0f;
    }
  }
}

// rows: scratch for kPanelLanes rows of v_dim rounded up to kLanes.
inline void finish_panel(const FlashForwardItem& item, const QueryPanel& panel, float* rows) {
  const std::int64_t width = round_up(item.v_dim, kLanes);
  const std::int64_t stride = panel.stride();
  if (panel.any) {
    for (std::int64_t c = 0; c < item.v_dim; c += kLanes) {
      transpose(RowSource<float>{panel.total_o + c * stride, stride}, stride, rows + c, width);
    }
  }
  for (int lane = 0; lane < panel.lanes; ++lane) {
    float* row = rows + lane * width;
    if (!panel.any) std::memset(row, 0, static_cast<std::size_t>(width) * sizeof(float));
    finish_row(item, row_of_lane(item, *panel.tile, panel.first_lane + lane), row,
               panel.any ? panel.total_m[lane] : 0.0f, panel.any ? panel.total_l[lane] : 0.0f);
  }
}

// The split's state into the total; the first may be copied.
template <int kVecs>
void merge_panel(QueryPanel& panel, std::int64_t v_dim) {
  if (!panel.any) {
    std::memcpy(panel.total_m, panel.m, sizeof(panel.m));
    std::memcpy(panel.total_l, panel.l, sizeof(panel.l));
    return;
  }
  for (int j = 0; j < kVecs; ++j) {
    const int at = j * kLanes;
    const MergeFactors merge(load(panel.total_m + at), load(panel.m + at));
    store(merge.m, panel.total_m + at);
    store(merge(load(panel.total_l + at), load(panel.l + at)), panel.total_l + at);
    float* total = panel.total_o + at;
    const float* split = panel.o + at;
    for (std::int64_t c = 0; c < v_dim; ++c, total += kVecs * kLanes, split += kVecs * kLanes) {
      store(merge(load(total), load(split)), total);
    }
  }
}

}  // namespace RAPTLY_TARGET
}  // namespace raptly
RAPTLY_AFTER_TARGET();
#endif
#endif
