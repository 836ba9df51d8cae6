// One block of keys for one panel: scores, softmax, times V.
#if defined(RAPTLY_FORWARD_BLOCK_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RAPTLY_FORWARD_BLOCK_INL_H
#undef RAPTLY_FORWARD_BLOCK_INL_H
#else
#define RAPTLY_FORWARD_BLOCK_INL_H
#endif

#include "kernels/flash_forward/panel_bias-inl.h"
#include "kernels/flash_forward/runs-inl.h"
#include "kernels/softmax_state/softcap-inl.h"
#if RAPTLY_TARGET_ENABLED
RAPTLY_BEFORE_TARGET();
namespace raptly {
namespace RAPTLY_TARGET {

// Keys of one block, f32. bits: of a partial span, one word a key; null: all queries see all keys.
struct KeyBlock {
  std::int64_t first_key;
  const float* k;
  std::int64_t k_stride;
  const float* v;
  std::int64_t v_stride;
  int n;
  const std::uint64_t* bits;
};

struct BlockContext {
  const FlashForwardItem& item;
  std::int64_t head_dim, v_dim;
  Softcap softcap;
  float* scores;     // [kBlockKeys][kPanelLanes]
  float* bias_rows;  // kBiasRowFloats
};

inline std::uint64_t all_queries(const QueryTile& tile) {
  return tile.n_queries >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << tile.n_queries) - 1;
}

// True in the lanes whose query does not see the key.
RAPTLY_INLINE Mf hidden_lanes(const QueryPanel& panel, int vec, std::uint64_t bits) {
  const Vi low =
      bit_and(load_bits(panel.bit_low + vec * kLanes), set_bits(static_cast<std::uint32_t>(bits)));
  const Vi high = bit_and(load_bits(panel.bit_high + vec * kLanes),
                          set_bits(static_cast<std::uint32_t>(bits >> 32)));
  return is_zero(bit_or(low, high));
}

template <int kVecs>
void mask_scores(const QueryPanel& panel, const KeyBlock& block, float* scores) {
  const std::uint64_t all = all_queries(*panel.tile);
  for (int key = 0; key < block.n; ++key) {
    if ((block.bits[key] & all) == all) continue;
    float* s = scores + key * kVecs * kLanes;
    for (int j = 0; j < kVecs; ++j) {
      const Mf hidden = hidden_lanes(panel, j, block.bits[key]);
      store(select(hidden, set(kMinusInfinity), load(s + j * kLanes)), s + j * kLanes);
    }
  }
}

// Scores of a block become p; m, l and, where m moved, o follow. n is a multiple of 8.
template <int kVecs>
void softmax_block(QueryPanel& panel, float* scores, int n, std::int64_t v_dim) {
  constexpr int kStride = kVecs * kLanes;
  constexpr int kSums = kRegisters == 32 ? 8 : 4;  // partial sums held at a time
  for (int j = 0; j < kVecs; ++j) {
    float* s = scores + j * kLanes;
    Vf m = load(panel.m + j * kLanes), l = load(panel.l + j * kLanes);
    Vf best[4];
    each<4>([&](auto i) RAPTLY_LAMBDA { best[i] = load(s + i * kStride); });
    for (int k = 4; k < n; k += 4) {
      each<4>([&](auto i) RAPTLY_LAMBDA { best[i] = max(load(s + (k + i) * kStride), best[i]); });
    }
    Vf block_max = max(max(best[0], best[1]), max(best[2], best[3]));
    // Lane by lane: a neighbour beyond the limit, or one that sees nothing, must not clamp the low
    // scores of this query.
    const Vf known = select(eq(block_max, set(kMinusInfinity)), zero(), block_max);
    const Mf over = gt(abs(known), set(kScoreLimit));
    if (any(over)) {
      for (int k = 0; k < n; ++k) {
        const Vf x = load(s + k * kStride);
        store(select(over, clamp_scores(x), x), s + k * kStride);
      }
      block_max = select(over, clamp_scores(block_max), block_max);
    }
    const Mf rises = gt(block_max, add(m, set(kRescaleThreshold)));
    if (any(rises)) {
      const Vf raised = select(rises, nearest_even(block_max), m);
      const Vf factor = pow2_integer(sub(m, raised));
      m = raised;
      l = mul(l, factor);
      store(m, panel.m + j * kLanes);
      if (panel.live) {
        float* o = panel.o + j * kLanes;
        for (std::int64_t c = 0; c < v_dim; ++c, o += kStride) store(mul(load(o), factor), o);
      }
    }
    const Pow2Base base(m);
    Vf part[8];
    each<8 / kSums>([&](auto half) RAPTLY_LAMBDA {
      Vf sum[kSums];
      each<kSums>([&](auto i) RAPTLY_LAMBDA { sum[i] = zero(); });
      for (int k = half * kSums; k < n; k += 8) {
        each<kSums>([&](auto i) RAPTLY_LAMBDA {
          const Vf p = pow2(load(s + (k + i) * kStride), base);
          store(p, s + (k + i) * kStride);
          sum[i] = add(sum[i], p);
        });
      }
      each<kSums>([&](auto i) RAPTLY_LAMBDA { part[half * kSums + i] = sum[i]; });
    });
    l = add(l, sum_tree(part, [](Vf a, Vf b) RAPTLY_LAMBDA { return add(a, b); }));
    store(l, panel.l + j * kLanes);
  }
}

// V of a key that some row of the panel does not see holds NaN or inf: 0 * inf must not reach it.
inline bool hidden_value_is_non_finite(const QueryPanel& panel, const KeyBlock& block,
                                       bool bias_hides, std::int64_t v_dim) {
  if (block.bits == nullptr && !bias_hides) return false;
  const std::uint64_t all = all_queries(*panel.tile);
  for (int key = 0; key < block.n; ++key) {
    if ((bias_hides || (block.bits[key] & all) != all) &&
        has_non_finite(block.v + key * block.v_stride, v_dim)) {
      return true;
    }
  }
  return false;
}

// hidden: bit i of a key's word hides it from lane i.
template <int kVecs>
void add_visible_values(QueryPanel& panel, const KeyBlock& block, const std::uint64_t* hidden,
                        const float* p, std::int64_t v_dim) {
  for (int key = 0; key < block.n; ++key) {
    for (int j = 0; j < kVecs; ++j) {
      const Mf out = mask_from_bits(hidden[key] >> (j * kLanes));
      const Vf weight = load(p + (key * kVecs + j) * kLanes);
      for (std::int64_t c = 0; c < v_dim; ++c) {
        float* o = panel.o + (c * kVecs + j) * kLanes;
        const Vf before = load(o);
        store(select(out, before, fma(set(block.v[key * block.v_stride + c]), weight, before)), o);
      }
    }
  }
}

// Lanes that do not see a key, by the mask and, where it hides any, by the bias.
inline void find_hidden_lanes(const FlashForwardItem& item, const QueryPanel& panel,
                              const KeyBlock& block, float* bias_rows, std::uint64_t* hidden) {
  std::memset(hidden, 0, static_cast<std::size_t>(block.n) * sizeof(*hidden));
  if (bias_rows != nullptr) {
    find_hidden_lanes(item, panel, KeyPositions(*item.bias, block.first_key, block.n), bias_rows,
                      hidden);
  }
  for (int key = 0; block.bits != nullptr && key < block.n; ++key) {
    for (int lane = 0; lane < panel.lanes; ++lane) {
      const int query = (panel.first_lane + lane) / item.group;
      hidden[key] |= (~block.bits[key] >> query & 1) << lane;
    }
  }
}

// The scores of a few keys at a time, and between them some rows of the bias: all at once would be
// more than the core has miss buffers.
template <int kVecs>
void scores_and_fetch(const BlockContext& context, const QueryPanel& panel, const KeyBlock& block) {
  constexpr int kStride = kVecs * kLanes, kKeys = 8, kRows = kStride * kKeys / kBlockKeys + 1;
  const KeyPositions keys(*context.item.bias, block.first_key, block.n);
  for (int key = 0, lane = 0; key < block.n; key += kKeys, lane += kRows) {
    fetch_bias(context.item, panel, keys, lane, lane + kRows);
    mm_rows<kVecs, false>(std::min(kKeys, block.n - key),
                          Broadcasts{block.k + key * block.k_stride, block.k_stride, 1},
                          LaneRows<float>{panel.q, kStride},
                          Sums{context.scores + key * kStride, kStride}, context.head_dim);
  }
}

template <int kVecs>
void attend_block(const BlockContext& context, QueryPanel& panel, const KeyBlock& block) {
  constexpr int kStride = kVecs * kLanes;
  float* scores = context.scores;
  const int n8 = (block.n + 7) & ~7;
  VisibleRuns runs;  // of a partial block
  if (block.bits != nullptr) find_runs<kVecs>(panel, block.bits, block.n, runs);
  if (fetches_bias(context.item)) {
    scores_and_fetch<kVecs>(context, panel, block);
  } else if (block.bits == nullptr) {
    mm_rows<kVecs, false>(block.n, Broadcasts{block.k, block.k_stride, 1},
                          LaneRows<float>{panel.q, kStride}, Sums{scores, kStride},
                          context.head_dim);
  } else {
    score_runs<kVecs>(runs, panel, {block.k, block.k_stride}, context.head_dim, scores);
  }
  for (int i = block.n * kVecs; i < n8 * kVecs; ++i) {
    store(set(kMinusInfinity), scores + i * kLanes);
  }
  if (context.softcap.given()) {
    for (int i = 0; i < block.n * kVecs; ++i) {
      store(context.softcap(load(scores + i * kLanes)), scores + i * kLanes);
    }
  }
  bool bias_hides = false;
  if (context.item.bias != nullptr) {
    const KeyPositions keys(*context.item.bias, block.first_key, block.n);
    bias_hides = add_bias<kVecs>(context.item, panel, keys, context.bias_rows, scores);
  }
  if (block.bits != nullptr) mask_scores<kVecs>(panel, block, scores);
  softmax_block<kVecs>(panel, scores, n8, context.v_dim);

  if (hidden_value_is_non_finite(panel, block, bias_hides, context.v_dim)) {
    if (!panel.live) {
      std::memset(panel.o, 0, static_cast<std::size_t>(context.v_dim * kStride) * sizeof(float));
    }
    std::uint64_t hidden[kBlockKeys];
    find_hidden_lanes(context.item, panel, block, bias_hides ? context.bias_rows : nullptr, hidden);
    add_visible_values<kVecs>(panel, block, hidden, scores, context.v_dim);
  } else if (block.bits == nullptr) {
    const Broadcasts v{block.v, 1, block.v_stride};
    const LaneRows<float> p{scores, kStride};
    const Sums o{panel.o, kStride};
    if (panel.live) {
      mm_rows<kVecs, true>(context.v_dim, v, p, o, block.n);
    } else {
      mm_rows<kVecs, false>(context.v_dim, v, p, o, block.n);
    }
  } else {
    add_runs<kVecs>(runs, panel, {block.v, block.v_stride}, context.v_dim, scores);
  }
  panel.live = true;
}

}  // namespace RAPTLY_TARGET
}  // namespace raptly
RAPTLY_AFTER_TARGET();
#endif
#endif
