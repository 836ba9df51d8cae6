// One block of keys for the strips of a chunk: weights, dS, and what they add to dv and dk.
#if defined(RAPTLY_BACKWARD_BLOCK_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RAPTLY_BACKWARD_BLOCK_INL_H
#undef RAPTLY_BACKWARD_BLOCK_INL_H
#else
#define RAPTLY_BACKWARD_BLOCK_INL_H
#endif

#include "kernels/flash_backward/backward_panel-inl.h"
#include "kernels/flash_forward/block-inl.h"
#if RAPTLY_TARGET_ENABLED
RAPTLY_BEFORE_TARGET();
namespace raptly {
namespace RAPTLY_TARGET {

struct BackwardContext {
  const FlashBackwardItem& item;
  const BackwardMemory& memory;
  Softcap softcap;
  bool keeps_ds;  // for the gradient of the bias, before the slope of the softcap

  const FlashForwardItem& f() const { return item.forward; }
};

// 1 - (y / softcap)^2 of capped scores.
template <int kVecs>
void apply_softcap(const BackwardContext& context, std::int64_t n) {
  float *scores = context.memory.scores, *slopes = context.memory.slopes;
  const Vf inverse = set(context.softcap.inverse);
  for (std::int64_t i = 0; i < n * kVecs * kLanes; i += kLanes) {
    const Vf y = context.softcap(load(scores + i));
    const Vf t = mul(y, inverse);
    store(y, scores + i);
    store(fma(sub(zero(), t), t, set(1.0f)), slopes + i);
  }
}

// The scores of a panel, hidden ones -inf, and dP. True if some pair is hidden.
template <int kVecs>
bool find_scores(const BackwardContext& context, const BackwardPanel& panel,
                 const StripPiece& piece) {
  constexpr int kStride = kVecs * kLanes;
  const BackwardMemory& m = context.memory;
  const auto n = static_cast<int>(piece.end - piece.begin);
  mm_rows<kVecs, false>(n, Broadcasts{m.k + piece.begin * m.k_stride, m.k_stride, 1},
                        LaneRows<float>{panel.rows.q, kStride}, Sums{m.scores, kStride},
                        context.f().head_dim);
  mm_rows<kVecs, false>(n, Broadcasts{m.v + piece.begin * m.v_stride, m.v_stride, 1},
                        LaneRows<float>{panel.dout, kStride}, Sums{m.dweights, kStride},
                        context.f().v_dim);
  if (context.softcap.given()) apply_softcap<kVecs>(context, n);
  bool hides = piece.bits != nullptr;
  const std::int64_t first_key = m.state->range.first_key + piece.begin;
  if (context.f().bias != nullptr) {
    const KeyPositions keys(*context.f().bias, first_key, n);
    hides |= add_bias<kVecs>(context.f(), panel.rows, keys, m.bias_rows, m.scores);
  }
  if (panel.extreme) {
    for (int i = 0; i < n * kVecs; ++i) {
      store(clamp_scores(load(m.scores + i * kLanes)), m.scores + i * kLanes);
    }
  }
  if (piece.bits != nullptr) {
    mask_scores<kVecs>(panel.rows, {first_key, nullptr, 0, nullptr, 0, n, piece.bits}, m.scores);
  }
  return hides;
}

// P and dS of a panel into their rows.
template <int kVecs, bool kHides, bool kCapped>
void find_weights(const BackwardContext& context, const BackwardPanel& panel,
                  const StripPiece& piece) {
  constexpr int kStride = kVecs * kLanes;
  const BackwardMemory& memory = context.memory;
  const std::int64_t n = piece.end - piece.begin, row = piece.begin % kBlockKeys;
  for (int j = 0; j < kVecs; ++j) {
    const int at = j * kLanes;
    const Pow2Base base(load(panel.m + at));
    const Vf delta = load(panel.delta + at);
    const float *s_at = memory.scores + at, *dp_at = memory.dweights + at,
                *slope_at = memory.slopes + at;
    float* p_at = memory.p + row * kChunkRow + panel.lane + at;
    float* ds_at = memory.ds + piece.begin * kChunkRow + panel.lane + at;
    float* bias_ds_at = memory.bias_ds + row * kChunkRow + panel.lane + at;
    for (std::int64_t key = 0; key < n; ++key) {
      const Vf s = load(s_at + key * kStride);
      Vf p = pow2(s, base);
      Vf ds = mul(p, sub(load(dp_at + key * kStride), delta));
      if constexpr (kHides) {
        const Mf hidden = eq(s, set(kMinusInfinity));
        p = select(hidden, zero(), p);
        ds = select(hidden, zero(), ds);
      }
      store(p, p_at + key * kChunkRow);
      if constexpr (kCapped) {
        if (context.keeps_ds) store(ds, bias_ds_at + key * kChunkRow);
        ds = mul(ds, load(slope_at + key * kStride));
      }
      store(ds, ds_at + key * kChunkRow);
    }
  }
}

// Pairs that are listed more than once.
inline void count_pairs(const BackwardContext& context, const BackwardPanel& panel,
                        const StripPiece& piece) {
  const BackwardMemory& memory = context.memory;
  const std::int64_t first_key = memory.state->range.first_key;
  for (std::int64_t row = piece.begin; row < piece.end; ++row) {
    const std::int64_t key = first_key + row;
    for (int lane = 0; lane < panel.rows.lanes; ++lane) {
      const int query = (panel.rows.first_lane + lane) / context.f().group;
      int n = 0;
      for (int i = 0; i < piece.n_spans; ++i) {
        const TileSpan& span = piece.span[i];
        if (key < span.first_key || key >= span.first_key + span.n_keys) continue;
        n += span.bits == nullptr || (span.bits[key - span.first_key] >> query & 1) != 0;
      }
      if (n <= 1) continue;
      const auto times = static_cast<float>(n);
      memory.p[row % kBlockKeys * kChunkRow + panel.lane + lane] *= times;
      memory.ds[row * kChunkRow + panel.lane + lane] *= times;
      if (context.softcap.given() && context.keeps_ds) {
        memory.bias_ds[row % kBlockKeys * kChunkRow + panel.lane + lane] *= times;
      }
    }
  }
}

template <int kVecs>
bool weigh_panel(const BackwardContext& context, const BackwardPanel& panel,
                 const StripPiece& piece) {
  const bool hides = find_scores<kVecs>(context, panel, piece);
  if (context.softcap.given()) {
    find_weights<kVecs, true, true>(context, panel, piece);
  } else if (hides) {
    find_weights<kVecs, true, false>(context, panel, piece);
  } else {
    find_weights<kVecs, false, false>(context, panel, piece);
  }
  if (piece.n_spans > 1) count_pairs(context, panel, piece);
  return hides;
}

inline bool weigh_panel(const BackwardContext& context, const BackwardPanel& panel,
                        const StripPiece& piece) {
  return panel.rows.vecs == 3   ? weigh_panel<3>(context, panel, piece)
         : panel.rows.vecs == 2 ? weigh_panel<2>(context, panel, piece)
                                : weigh_panel<1>(context, panel, piece);
}

// Rows of a product whose lanes are dimensions: sums [rows][stride] += W^T X.
struct LaneProduct {
  const float* weights;  // [rows][kChunkRow]
  const float* x;        // [n][stride]
  float* sums;           // [rows][stride]
  std::int64_t stride, dim, rows, n;
};

inline void add_product(const LaneProduct& a) {
  const Broadcasts weights{a.weights, kChunkRow, 1};
  std::int64_t c = 0;
  for (; c + kLanes < a.dim; c += 2 * kLanes) {
    mm_rows<2, true>(a.rows, weights, LaneRows<float>{a.x + c, a.stride},
                     Sums{a.sums + c, a.stride}, a.n);
  }
  if (c < a.dim) {
    mm_rows<1, true>(a.rows, weights, LaneRows<float>{a.x + c, a.stride},
                     Sums{a.sums + c, a.stride}, a.n);
  }
}

// The same without the pairs whose weight is 0: x holds NaN or inf that some keys do not see.
inline void add_visible_product(const LaneProduct& a) {
  for (std::int64_t row = 0; row < a.rows; ++row) {
    for (std::int64_t i = 0; i < a.n; ++i) {
      const float weight = a.weights[row * kChunkRow + i];
      if (weight == 0) continue;
      for (std::int64_t c = 0; c < a.dim; c += kLanes) {
        float* sum = a.sums + row * a.stride + c;
        store(fma(set(weight), load(a.x + i * a.stride + c), load(sum)), sum);
      }
    }
  }
}

// dv and dk of a block from the lanes of strips [begin, end), which see the same keys.
inline void add_keys(const BackwardContext& context, QueryChunk chunk, std::size_t begin,
                     std::size_t end, const StripPiece& piece) {
  const BackwardMemory& m = context.memory;
  const auto lane = static_cast<std::int64_t>(begin) * kStripLanes;
  bool careful = false;
  std::int64_t n = 0;
  for (std::size_t s = begin; s < end; ++s) {
    n += chunk[s].lanes;
    careful = careful || (m.state->bad_rows[s] && piece.hides);
  }
  const std::int64_t rows = piece.end - piece.begin;
  const LaneProduct dv{m.p + piece.begin % kBlockKeys * kChunkRow + lane,
                       m.dout_rows + lane * m.v_stride,
                       m.dv + piece.begin * m.v_stride,
                       m.v_stride,
                       context.f().v_dim,
                       rows,
                       n};
  const LaneProduct dk{m.ds + piece.begin * kChunkRow + lane,
                       m.q_rows + lane * m.k_stride,
                       m.dk + piece.begin * m.k_stride,
                       m.k_stride,
                       context.f().head_dim,
                       rows,
                       n};
  const auto add = careful ? &add_visible_product : &add_product;
  if (context.item.dv.at != nullptr) add(dv);
  if (context.item.dk.at != nullptr) add(dk);
}

// Strips that see the same keys of the block, side by side, in one product.
inline void add_keys_of_block(const BackwardContext& context, QueryChunk chunk,
                              std::int64_t block) {
  const auto piece = [&](std::size_t s) -> const StripPiece& {
    return context.memory.state->pieces[s][block];
  };
  for (std::size_t s = 0; s < chunk.size();) {
    std::size_t end = s + 1;
    while (end < chunk.size() && chunk[end - 1].lanes == kStripLanes &&
           piece(end).begin == piece(s).begin && piece(end).end == piece(s).end &&
           piece(end).hides == piece(s).hides) {
      ++end;
    }
    if (piece(s).begin < piece(s).end) add_keys(context, chunk, s, end, piece(s));
    s = end;
  }
}

}  // namespace RAPTLY_TARGET
}  // namespace raptly
RAPTLY_AFTER_TARGET();
#endif
#endif
