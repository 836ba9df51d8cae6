// What dS of a strip and a block of keys adds to the gradient of the bias.
#if defined(RAPTLY_BIAS_GRADIENT_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RAPTLY_BIAS_GRADIENT_INL_H
#undef RAPTLY_BIAS_GRADIENT_INL_H
#else
#define RAPTLY_BIAS_GRADIENT_INL_H
#endif

#include "kernels/flash_backward/backward_panel-inl.h"
#if RAPTLY_TARGET_ENABLED
RAPTLY_BEFORE_TARGET();
namespace raptly {
namespace RAPTLY_TARGET {

// dS [keys][kChunkRow] of the lanes of a strip.
struct StripGradient {
  const FlashBackwardItem& item;
  const QueryStrip& strip;
  std::span<const BackwardPanel> panels;
  const KeyPositions& keys;
  const float* ds;
};

inline int head_of_lane(const FlashBackwardItem& item, int tile_lane) {
  return tile_lane % item.forward.group;
}

// d loss / d slope = -sum of |query position - key position| ds; a chain over the keys of a block
// for each row, then the rows in double.
inline void add_slopes(const StripGradient& a, float* positions, double* slopes) {
  for (const BackwardPanel& panel : a.panels) {
    const QueryPanel& rows = panel.rows;
    const bool exact = positions_from(rows, a.keys, positions);
    const float* ds = a.ds + (panel.lane - a.panels[0].lane);
    for (int at = 0; at < rows.lanes; at += kLanes) {
      Vf sum = zero();
      for (int key = 0; key < a.keys.n; ++key) {
        Vf distance;
        if (exact) {
          distance = abs(sub(load(rows.position + at), set(positions[key])));
        } else {
          float list[kLanes] = {};
          for (int i = 0; i < kLanes && at + i < rows.lanes; ++i) {
            const RowOfItem row = row_of_lane(a.item.forward, *rows.tile, rows.first_lane + at + i);
            const std::int64_t query =
                mask_detail::query_position(a.item.forward.bias->scope, row.query);
            list[i] = static_cast<float>(std::abs(query - a.keys[key]));
          }
          distance = load(list);
        }
        sum = fma(distance, load(ds + key * kChunkRow + at), sum);
      }
      float list[kLanes];
      store(sum, list);
      for (int i = 0; i < kLanes && at + i < rows.lanes; ++i) {
        slopes[head_of_lane(a.item, rows.first_lane + at + i)] -= static_cast<double>(list[i]);
      }
    }
  }
}

// Where queries and keys stand side by side and lanes are of one head, ds along each diagonal:
// keys 16 apart, so that a sum is not loaded right after it was stored.
inline void add_diagonals(const StripGradient& a, std::int64_t first_query, float* offsets) {
  constexpr int kApart = 16;
  float diagonals[kStripLanes + kBlockKeys + 16];
  std::memset(diagonals, 0, sizeof(diagonals));
  const int n = a.keys.n;
  for (int phase = 0; phase < kApart; ++phase) {
    for (int key = phase; key < n; key += kApart) {
      float* to = diagonals + (n - 1 - key);
      const float* ds = a.ds + key * kChunkRow;
      for (int lane = 0; lane < a.strip.lanes; lane += kLanes) {
        store(add(load(to + lane), load(ds + lane)), to + lane);
      }
    }
  }
  const std::int64_t reach = a.item.forward.bias->reach;
  for (int i = 0; i < n - 1 + a.strip.lanes; ++i) {
    const std::int64_t d = a.keys.first - first_query + (n - 1 - i);
    offsets[std::clamp(d, -reach, reach) + reach] += diagonals[i];
  }
}

inline void add_offsets(const StripGradient& a, float* offsets) {
  const FlashForwardItem& f = a.item.forward;
  const ScoreBias& bias = *f.bias;
  const std::int64_t row_floats = 2 * bias.reach + 1;
  const RowOfItem first = row_of_lane(f, *a.strip.tile, a.strip.first_lane);
  const bool on_line =
      bias.scope.placement == nullptr ||
      bias.scope.placement->query_line(first.query, a.strip.lanes) == a.strip.lanes;
  if (f.group == 1 && on_line && a.keys.on_line) {
    return add_diagonals(a, mask_detail::query_position(bias.scope, first.query), offsets);
  }
  for (int lane = 0; lane < a.strip.lanes; ++lane) {
    const RowOfItem row = row_of_lane(f, *a.strip.tile, a.strip.first_lane + lane);
    const std::int64_t query = mask_detail::query_position(bias.scope, row.query);
    float* of_head = offsets + head_of_lane(a.item, a.strip.first_lane + lane) * row_floats;
    for (int key = 0; key < a.keys.n; ++key) {
      const std::int64_t d = std::clamp(a.keys[key] - query, -bias.reach, bias.reach);
      of_head[d + bias.reach] += a.ds[key * kChunkRow + lane];
    }
  }
}

// The elements of one lane for keys [begin, n).
inline void add_dense_lane(const StripGradient& a, int lane, int begin, float* elements) {
  const std::int64_t key_stride = a.item.dbias.key_stride;
  for (int key = begin; key < a.keys.n; ++key) {
    elements[key * key_stride] += a.ds[key * kChunkRow + lane];
  }
}

inline void add_dense(const StripGradient& a) {
  const BiasGradient& to = a.item.dbias;
  const auto elements_of = [&](int lane) {
    const RowOfItem row = row_of_lane(a.item.forward, *a.strip.tile, a.strip.first_lane + lane);
    return static_cast<float*>(to.at) + row.head * to.head_stride + row.query * to.query_stride +
           a.keys.first_key * to.key_stride;
  };
  const int whole = to.key_stride == 1 ? a.keys.n / kLanes * kLanes : 0;
  for (int first = 0; first < a.strip.lanes; first += kLanes) {
    const int lanes = std::min(kLanes, a.strip.lanes - first);
    // Elements beside each other: kLanes keys of kLanes rows at a time, turned round.
    for (int key = 0; key < whole; key += kLanes) {
      float turned[kLanes * kLanes];
      transpose(RowSource<float>{a.ds + key * kChunkRow + first, kChunkRow}, kLanes, turned,
                kLanes);
      for (int i = 0; i < lanes; ++i) {
        float* elements = elements_of(first + i) + key;
        store(add(load(elements), load(turned + i * kLanes)), elements);
      }
    }
    for (int i = 0; i < lanes; ++i) {
      add_dense_lane(a, first + i, whole, elements_of(first + i));
    }
  }
}

// positions: scratch [kBlockKeys].
inline void add_bias_gradient(const StripGradient& a, const BackwardSums& sums, float* positions) {
  if (a.item.forward.bias->kind == BiasKind::kDense) {
    if (a.item.dbias.at != nullptr) add_dense(a);
  } else if (sums.slopes != nullptr) {
    add_slopes(a, positions, sums.slopes);
  } else if (sums.offsets != nullptr) {
    add_offsets(a, sums.offsets);
  }
}

}  // namespace RAPTLY_TARGET
}  // namespace raptly
RAPTLY_AFTER_TARGET();
#endif
#endif
