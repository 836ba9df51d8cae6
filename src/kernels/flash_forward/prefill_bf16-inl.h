// Prefill of the level avx512_bf16: the driver of prefill-inl.h with bf16 keys,
// values and weights.
#if defined(RAPTLY_PREFILL_BF16_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RAPTLY_PREFILL_BF16_INL_H
#undef RAPTLY_PREFILL_BF16_INL_H
#else
#define RAPTLY_PREFILL_BF16_INL_H
#endif

#include "kernels/flash_forward/prefill-inl.h"
#include "kernels/flash_forward/softmax_bf16-inl.h"
#if RAPTLY_TARGET_ENABLED && HWY_TARGET == HWY_AVX3
RAPTLY_BEFORE_TARGET();
namespace raptly {
namespace RAPTLY_TARGET {

constexpr std::int64_t kBlockPairs = kBlockKeys / 2;

// rows: scratch for kLanes rows of pairs.
inline void pack_pairs(const FlashForwardItem& item, const ScoreScale& scale, QueryPanel& panel,
                       float* rows) {
  const std::int64_t width = round_up((item.head_dim + 1) / 2, kLanes);
  for (int vec = 0; vec < panel.vecs; ++vec) {
    for (int i = 0; i < kLanes; ++i) {
      auto* row = reinterpret_cast<std::uint32_t*>(rows) + i * width;
      const int lane = vec * kLanes + i;
      if (lane < panel.lanes) {
        const RowOfItem at = row_of_lane(item, *panel.tile, panel.first_lane + lane);
        copy_query(item, at.query, at.head, scale.sign, row);
      } else {
        std::memset(row, 0, static_cast<std::size_t>(width) * sizeof(*row));
      }
    }
    transpose(RowSource<float>{rows, width}, round_up((item.head_dim + 1) / 2, 4),
              panel.q + vec * kLanes, panel.stride());
  }
}

struct StagedPairs {
  bool ready = false;
  bool non_finite = false;  // some value is NaN or infinite
  const std::uint32_t* k;   // [keys, up to a multiple of 8][k_stride], the last ones zero
  const std::uint32_t* v;   // [v_dim / 8][kBlockPairs][8]
};

// The blocks of one split: dense rows of keys, values of two keys interleaved.
class PairStage {
 public:
  PairStage(const FlashForwardItem& item, const PrefillMemory& memory)
      : item_(item),
        cursor_(*item.kv, item.kv_head),
        k_(reinterpret_cast<std::uint32_t*>(memory.stage.k)),
        v_(reinterpret_cast<std::uint32_t*>(memory.stage.v)),
        rows_(reinterpret_cast<std::uint32_t*>(memory.rows)),
        k_stride_(round_up((item.head_dim + 1) / 2, kLanes)),
        v_tiles_((item.v_dim + 7) / 8) {}

  void start_split(std::int64_t first_key) {
    first_key_ = first_key;
    for (StagedPairs& block : blocks_) block.ready = false;
  }
  const StagedPairs& block(std::int64_t first_key) {
    StagedPairs& block = blocks_[(first_key - first_key_) / kBlockKeys];
    if (!block.ready) fill(first_key, block);
    return block;
  }
  std::int64_t k_stride() const { return k_stride_; }
  std::int64_t v_tiles() const { return v_tiles_; }
  static constexpr std::int64_t kTileStride = kBlockPairs * 8;

 private:
  void fill(std::int64_t first_key, StagedPairs& block) {
    const KvView& kv = *item_.kv;
    const std::int64_t end = std::min(first_key + kBlockKeys, kv.length);
    const std::int64_t index = (first_key - first_key_) / kBlockKeys;
    std::uint32_t* k = k_ + index * kBlockKeys * k_stride_;
    std::uint32_t* v = v_ + index * v_tiles_ * kTileStride;
    const std::int64_t n = round_up(end - first_key, 8);
    const Bf16* v_rows[kBlockKeys] = {};
    for (std::int64_t key = first_key; key < end;) {
      const KvSegment<Bf16> part = cursor_.segment(key, end);
      const std::int64_t row = key - first_key;
      for (std::int64_t i = 0; i < part.n; ++i) {
        std::uint32_t* out = k + (row + i) * k_stride_;
        if (part.k == nullptr) {
          std::memset(out, 0, static_cast<std::size_t>(k_stride_) * sizeof(*out));
          continue;
        }
        const Bf16* k_row = part.k + i * kv.k_token_stride;
        v_rows[row + i] = part.v + i * kv.v_token_stride;
        prefetch_row(k_row + kBlockKeys * kv.k_token_stride, item_.head_dim);
        prefetch_row(v_rows[row + i] + kBlockKeys * kv.v_token_stride, item_.v_dim);
        copy_pairs(k_row, kv.k_dim_stride, item_.head_dim, out);
      }
      key += part.n;
    }
    std::memset(k + (end - first_key) * k_stride_, 0,
                static_cast<std::size_t>((n - (end - first_key)) * k_stride_) * sizeof(*k));
    block = {true, false, k, v};
    for (std::int64_t i = 0; i < n; i += 2) {
      block.non_finite |=
          bf16_leaf::interleave_rows({value_row(v_rows[i], 0), value_row(v_rows[i + 1], 1),
                                      item_.v_dim, v + i / 2 * 8, kTileStride});
    }
  }

  // Of the next block: rows of one head lie far apart in [batch, seq, heads, dim].
  static void prefetch_row(const Bf16* row, std::int64_t n) {
    for (std::int64_t c = 0; c < n; c += 32) __builtin_prefetch(row + c, 0, 2);
  }

  // As it lies, or gathered; null stays null.
  const Bf16* value_row(const Bf16* row, int slot) {
    if (row == nullptr || item_.kv->v_dim_stride == 1) return row;
    std::uint32_t* out = rows_ + slot * round_up(item_.v_dim, kLanes);
    copy_pairs(row, item_.kv->v_dim_stride, item_.v_dim, out);
    return reinterpret_cast<const Bf16*>(out);
  }

  const FlashForwardItem& item_;
  KvCursor<Bf16> cursor_;
  std::uint32_t* k_;
  std::uint32_t* v_;
  std::uint32_t* rows_;
  std::int64_t k_stride_, v_tiles_;
  std::int64_t first_key_ = 0;
  StagedPairs blocks_[kBlocksPerSplit];
};

class Bf16Engine {
 public:
  Bf16Engine(const FlashForwardItem& item, const PrefillMemory& memory, const ScoreScale& scale)
      : item_(item),
        scores_(memory.scores),
        bias_rows_(memory.bias_rows),
        scale_(scale),
        stage_(item, memory) {}

  void start_split(std::int64_t first_key) { stage_.start_split(first_key); }

  void attend(QueryPanel& panel, std::int64_t first_key, const KeyRange& keys,
              const std::uint64_t* bits) {
    const StagedPairs& staged = stage_.block(first_key);
    const std::int64_t row = keys.begin - first_key;
    const int n = static_cast<int>(keys.end - keys.begin), n8 = (n + 7) & ~7;
    alignas(64) float best[kPanelLanes];
    for (float& b : best) b = kMinusInfinity;
    const bf16_leaf::Scores all{staged.k + row * stage_.k_stride(),
                                stage_.k_stride(),
                                reinterpret_cast<const std::uint32_t*>(panel.q),
                                std::int64_t{item_.head_dim + 1} / 2,
                                n8,
                                panel.vecs,
                                scores_,
                                best};
    fetches_bias(item_) ? scores_and_fetch(panel, keys, all) : bf16_leaf::scores(all);
    const KeyBlock block{keys.begin, nullptr, 0, nullptr, 0, n, bits};
    bool bias_hides = false;
    if (scale_.separate || bits != nullptr || n != n8) bias_hides = edit_scores(panel, block, best);
    softmax(panel, n8, best);

    const std::uint32_t* v = staged.v + row / 2 * 8;
    if (staged.non_finite && (bits != nullptr || bias_hides)) {
      add_visible_values(panel, v, block, bias_hides);
    } else {
      bf16_leaf::values({v, PairStage::kTileStride, stage_.v_tiles(), n8 / 2, panel.vecs,
                         reinterpret_cast<const std::uint32_t*>(scores_), panel.o, panel.live});
    }
    panel.live = true;
  }

 private:
  // As in block-inl.h.
  void scores_and_fetch(const QueryPanel& panel, const KeyRange& keys,
                        const bf16_leaf::Scores& all) {
    constexpr int kKeys = 8, kRows = kPanelLanes * kKeys / kBlockKeys;
    const KeyPositions positions(*item_.bias, keys.begin, static_cast<int>(keys.end - keys.begin));
    bf16_leaf::Scores part = all;
    part.n = kKeys;
    for (int key = 0, lane = 0; key < all.n; key += kKeys, lane += kRows) {
      fetch_bias(item_, panel, positions, lane, lane + kRows);
      bf16_leaf::scores(part);
      part.k += kKeys * part.k_stride;
      part.scores += kKeys * panel.stride();
    }
  }

  // Softcap, bias, hidden keys and the keys past the end; the largest scores anew. True if the bias
  // hides some pair.
  bool edit_scores(const QueryPanel& panel, const KeyBlock& block, float* best) {
    const std::int64_t stride = panel.stride();
    const int n = block.n, n8 = (n + 7) & ~7;
    const bool scales_with_bias = item_.bias != nullptr && !scale_.softcap.given();
    if (scale_.separate && !scales_with_bias) scale_separately(scale_, scores_, n * stride);
    DotScores dots(scales_with_bias ? scale_.first : 1.0f);
    const bool bias_hides = panel.vecs == 3   ? edit_pairs<3>(panel, block, dots)
                            : panel.vecs == 2 ? edit_pairs<2>(panel, block, dots)
                                              : edit_pairs<1>(panel, block, dots);
    // After the bias: a scale of 0 would make NaN of them.
    for (std::int64_t i = n * stride; i < n8 * stride; i += kLanes) {
      store(set(kMinusInfinity), scores_ + i);
    }
    for (int j = 0; j < panel.vecs; ++j) {
      Vf highest = dots.best[j];
      if (item_.bias == nullptr || block.bits != nullptr || n != n8) {
        highest = set(kMinusInfinity);
        for (int k = 0; k < n8; ++k)
          highest = max(load(scores_ + k * stride + j * kLanes), highest);
      }
      store(highest, best + j * kLanes);
    }
    return bias_hides;
  }

  template <int kVecs>
  bool edit_pairs(const QueryPanel& panel, const KeyBlock& block, DotScores& dots) {
    bool bias_hides = false;
    if (item_.bias != nullptr) {
      const KeyPositions keys(*item_.bias, block.first_key, block.n);
      bias_hides = add_bias<kVecs>(item_, panel, keys, bias_rows_, dots, scores_);
    }
    if (block.bits != nullptr) mask_scores<kVecs>(panel, block, scores_);
    return bias_hides;
  }

  // Scores become pairs of weights; m, l and, where m moved, o follow. What is
  // decided of m for all vectors comes before the long loop over their scores.
  void softmax(QueryPanel& panel, int n8, const float* best) {
    alignas(64) float scale[kPanelLanes], low[kPanelLanes], magic[kPanelLanes];
    for (int lane = 0; lane < panel.stride(); lane += kLanes) {
      const BlockMax now(load(panel.m + lane), load(best + lane), scale_.factor);
      if (any(now.over)) limit_scores(panel, lane, n8, now);
      if (any(now.rises)) raise_m(panel, lane, now);
      store(now.scale, scale + lane);
      store(now.low(), low + lane);
      store(now.magic(), magic + lane);
    }
    bf16_leaf::weights({scores_, n8, panel.vecs, {scale, low, magic}, panel.l});
  }

  void limit_scores(const QueryPanel& panel, int lane, int n8, const BlockMax& now) {
    float* s = scores_ + lane;
    for (int k = 0; k < n8; ++k, s += panel.stride()) {
      store(now.limited(load(s), scale_.factor), s);
    }
  }

  void raise_m(QueryPanel& panel, int lane, const BlockMax& now) {
    store(now.m, panel.m + lane);
    store(mul(load(panel.l + lane), now.factor), panel.l + lane);
    if (!panel.live) return;
    float* o = panel.o + lane;
    for (std::int64_t c = 0; c < item_.v_dim; ++c, o += panel.stride()) {
      store(mul(load(o), now.factor), o);
    }
  }

  void add_visible_values(QueryPanel& panel, const std::uint32_t* v, const KeyBlock& block,
                          bool bias_hides) {
    const std::int64_t stride = panel.stride();
    if (!panel.live) {
      std::memset(panel.o, 0,
                  static_cast<std::size_t>(stage_.v_tiles() * 8 * stride) * sizeof(float));
    }
    std::uint64_t hidden[kBlockKeys + 1];
    find_hidden_lanes(item_, panel, block, bias_hides ? bias_rows_ : nullptr, hidden);
    hidden[block.n] = ~std::uint64_t{0};  // the other half of the last pair
    for (int key = 0; key < block.n; key += 2) {
      for (int vec = 0; vec < panel.vecs; ++vec) {
        const auto sees = [&](int of) {
          return static_cast<std::uint16_t>(~(hidden[of] >> (vec * kLanes)));
        };
        const float* p = scores_ + key / 2 * stride + vec * kLanes;
        bf16_leaf::values_of_visible_pair({v + key / 2 * 8, PairStage::kTileStride,
                                           stage_.v_tiles(),
                                           reinterpret_cast<const std::uint32_t*>(p), sees(key),
                                           sees(key + 1), panel.o + vec * kLanes, stride});
      }
    }
  }

  const FlashForwardItem& item_;
  float* scores_;
  float* bias_rows_;
  const ScoreScale& scale_;
  PairStage stage_;
};

void flash_prefill_bf16(const FlashForwardItem& item, std::byte* workspace) noexcept {
  const FloatingPointMode mode;
  WorkspaceCutter cutter(workspace);
  const PrefillMemory memory = cut_prefill_memory(size_of_item(item), cutter);
  const ScoreScale scale(item);
  const std::int64_t n =
      make_panels(item, memory, [&](const FlashForwardItem& of, QueryPanel& panel, float* rows) {
        pack_pairs(of, scale, panel, rows);
      });
  Bf16Engine engine(item, memory, scale);
  prefill_panels(item, memory, n, engine);
}

}  // namespace RAPTLY_TARGET
}  // namespace raptly
RAPTLY_AFTER_TARGET();
#endif
#endif
