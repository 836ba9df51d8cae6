// Decode of the level avx512_bf16: at most kMaxDecodeRows rows of one key head, one split of keys
// at a time. Lane = key for the scores (a tile of K is transposed, pair by pair), lane = column for
// the output (two rows of V are interleaved in registers). A row's arithmetic is that of prefill.
#if defined(RAPTLY_DECODE_BF16_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RAPTLY_DECODE_BF16_INL_H
#undef RAPTLY_DECODE_BF16_INL_H
#else
#define RAPTLY_DECODE_BF16_INL_H
#endif

#include "base/floating_point_mode.h"
#include "kernels/flash_forward/decode_rows-inl.h"
#include "kernels/flash_forward/decode_scores-inl.h"
#include "kernels/flash_forward/decode_state.h"
#include "kernels/flash_forward/kv_cursor.h"
#include "kernels/flash_forward/panel-inl.h"
#include "kernels/flash_forward/softmax_bf16-inl.h"
#if RAPTLY_TARGET_ENABLED && HWY_TARGET == HWY_AVX3
RAPTLY_BEFORE_TARGET();
namespace raptly {
namespace RAPTLY_TARGET {

constexpr int kPairTileVecs = 4;                        // 64 keys of a transposed tile
constexpr std::int64_t kPairValueKeys = 32;             // keys of V at a time: their rows fit L1
constexpr std::int64_t kWeightStride = kBlockKeys / 2;  // words

struct PairDecodeMemory {
  std::uint32_t* q;       // [kMaxDecodeRows][q_stride]
  float* scores;          // [score_blocks(rows)][rows][kBlockKeys]
  float* bias_values;     // [kBlockKeys], of one row
  std::uint32_t* p;       // [kMaxDecodeRows][kWeightStride]
  std::uint32_t* k_tile;  // [pairs][kPairTileVecs * 16]
  std::byte* tile[2];     // K of 16 keys: rows of tile_row_bytes
  std::uint32_t* v_rows;  // [kPairValueKeys][v_stride]: values that cannot be read as they lie
  std::int64_t q_stride, v_stride;  // words
};

inline PairDecodeMemory cut_pair_decode_memory(int head_dim, int v_dim, WorkspaceCutter& cutter) {
  PairDecodeMemory memory;
  memory.q_stride = round_up((head_dim + 1) / 2, kLanes);
  memory.v_stride = round_up((v_dim + 1) / 2, kLanes);
  memory.q = cutter.take<std::uint32_t>(kMaxDecodeRows * memory.q_stride);
  memory.scores = cutter.take<float>(kScoreFloats);
  memory.bias_values = cutter.take<float>(kBlockKeys);
  memory.p = cutter.take<std::uint32_t>(kMaxDecodeRows * kWeightStride);
  memory.k_tile = cutter.take<std::uint32_t>(memory.q_stride * kPairTileVecs * kLanes);
  for (std::byte*& tile : memory.tile) {
    tile = cutter.take<std::byte>(kLanes * tile_row_bytes(round_up(head_dim, 16), sizeof(Bf16)));
  }
  memory.v_rows = cutter.take<std::uint32_t>(kPairValueKeys * memory.v_stride);
  return memory;
}

std::size_t decode_bf16_workspace_bytes(int head_dim, int v_dim) {
  WorkspaceCutter cutter(nullptr);
  cut_pair_decode_memory(head_dim, v_dim, cutter);
  return cutter.used();
}

class PairDecode {
 public:
  PairDecode(const FlashForwardItem& item, const PairDecodeMemory& memory, float* state)
      : item_(item),
        memory_(memory),
        scale_(item),
        cursor_(*item.kv, item.kv_head),
        keys_(item, memory.tile, kLanes, item.kv->k_token_stride % 2 == 0),
        ahead_keys_(ahead_keys(item.v_dim * static_cast<std::int64_t>(sizeof(Bf16)))),
        state_(decode_state(state)),
        rows_(item.tiles.empty() ? 0 : item.tiles.front().n_queries * item.group),
        o_stride_(round_up(item.v_dim, 16)) {
    for (int row = 0; row < rows_; ++row) {
      state_.m[row] = -kScoreLimit;
      state_.l[row] = 0;
      const RowOfItem at = row_of_lane(item, item.tiles.front(), row);
      copy_query(item, at.query, at.head, scale_.sign, memory.q + row * memory.q_stride);
    }
    std::memset(state_.o, 0, static_cast<std::size_t>(rows_ * o_stride_) * sizeof(float));
  }

  void run(std::int64_t split) {
    if (rows_ == 0) return;
    each_block(
        item_, split * kSplitKeys, rows_, memory_.scores,
        [&](const DecodeBlock& block, float* scores) { score(block, scores); },
        [&](const DecodeBlock& block, float* scores) { attend(block, scores); });
  }

 private:
  void score(const DecodeBlock& block, float* scores) {
    for (int at = 0; at < block.n(); at += kPairTileVecs * kLanes) {
      const int left = block.n() - at;
      const int vecs = left > 2 * kLanes ? kPairTileVecs : left > kLanes ? 2 : 1;
      for (int vec = 0; vec < vecs && vec * kLanes < left; ++vec) {
        transpose_keys(block.begin + at + vec * kLanes, block.end,
                       reinterpret_cast<float*>(memory_.k_tile) + vec * kLanes, vecs * kLanes);
      }
      bf16_leaf::row_scores({memory_.q, memory_.q_stride, rows_, memory_.k_tile,
                             std::int64_t{item_.head_dim + 1} / 2, vecs, scores + at, kBlockKeys});
    }
  }
  void attend(const DecodeBlock& block, float* scores) {
    hidden_.clear();
    for (int row = 0; row < rows_; ++row) softmax(block, row, scores + row * kBlockKeys);
    values(block);
  }

  // Pairs of keys [first, first + 16) into columns; those of keys from `end` on hold anything.
  void transpose_keys(std::int64_t first, std::int64_t end, float* out, std::int64_t out_stride) {
    const RowSource<Bf16> tile = keys_.tile(first, end);
    TileLoad next = keys_.load_of(std::min(first + kLanes, end));
    const auto* at = reinterpret_cast<const float*>(tile.at);
    for (std::int64_t i = 0; i < keys_.steps(); ++i, at += kTransposeColumns<float>) {
      transpose_step(at, tile.stride / 2, [&](auto c, const Vf& column) RAPTLY_LAMBDA {
        store(column, out + c * out_stride);
      });
      next.step();
      out += kTransposeColumns<float> * out_stride;
    }
  }

  SeenBits seen(const DecodeBlock& block) const {
    const int n_queries = item_.tiles.front().n_queries;
    return {block.bits, ~std::uint64_t{0} >> (64 - n_queries), item_.group,
            hidden_.any() ? &hidden_ : nullptr};
  }

  // Scores of a row become weights; its m, l and o follow.
  void softmax(const DecodeBlock& block, int row, float* s) {
    const int n = block.n(), n16 = static_cast<int>(round_up(n, kLanes));
    if (scale_.separate) scale_separately(scale_, s, n16);
    if (item_.bias != nullptr) {
      const RowOfItem at = row_of_lane(item_, item_.tiles.front(), row);
      add_bias_to_row(*item_.bias, at, KeyPositions(*item_.bias, block.begin, n), row,
                      memory_.bias_values, s, hidden_);
    }
    for (int i = n; i < n16; ++i) s[i] = kMinusInfinity;
    for (int i = 0; block.bits != nullptr && i < n; ++i) {
      if ((block.bits[i] >> (row / item_.group) & 1) == 0) s[i] = kMinusInfinity;
    }
    Vf best = set(kMinusInfinity);
    for (int i = 0; i < n16; i += kLanes) best = max(load(s + i), best);
    const BlockMax now(set(state_.m[row]), set(max_lane(best)), scale_.factor);
    if (any(now.over)) {
      for (int i = 0; i < n16; i += kLanes) {
        store(now.limited(load(s + i), scale_.factor), s + i);
      }
    }
    if (any(now.rises)) {
      state_.m[row] = first_lane(now.m);
      state_.l[row] *= first_lane(now.factor);
      float* o = state_.o + row * o_stride_;
      for (std::int64_t c = 0; c < o_stride_; c += kLanes) {
        store(mul(load(o + c), now.factor), o + c);
      }
    }
    state_.l[row] += bf16_leaf::row_weights(
        {s, n16, first_lane(now.scale), first_lane(now.low()), first_lane(now.magic()),
         reinterpret_cast<Bf16*>(memory_.p + row * kWeightStride)});
  }

  // Adds the values of a block in stretches of whole pairs: as they lie, or gathered where a pair
  // falls into two runs, or past the end.
  void values(const DecodeBlock& block) {
    const KvView& kv = *item_.kv;
    const SeenBits seen_of_block = seen(block);
    for (std::int64_t key = block.begin; key < block.end;) {
      const std::int64_t end = std::min(block.end, key + kPairValueKeys);
      const KvSegment<Bf16> part = cursor_.segment(key, end);
      const SeenBits seen_here = seen_of_block.from(key - block.begin);
      if (part.v != nullptr && part.n >= 2 && kv.v_dim_stride == 1 && !seen_here.given()) {
        const std::int64_t n = part.n & ~std::int64_t{1};
        const RowSource<Bf16> source{part.v, kv.v_token_stride};
        // The hardware prefetcher follows one row's reads of values without gaps.
        const bool in_order = rows_ == 1 && source.stride == item_.v_dim;
        add({part.v, source.stride, n, !in_order,
             find_ahead(cursor_, &KvSegment<Bf16>::v, key, kv.length, source, ahead_keys_)},
            key - block.begin, 0, rows_);
        key += n;
        continue;
      }
      const std::int64_t n = end - key;
      const bool non_finite = gather_values(key, n, {}, 0);
      const std::int64_t stride = 2 * memory_.v_stride;
      const auto* rows = reinterpret_cast<const Bf16*>(memory_.v_rows);
      if (!seen_here.given() || !non_finite) {
        add({rows, stride, round_up(n, 2)}, key - block.begin, 0, rows_);
      } else {  // 0 * inf is NaN: each row with the values that it sees
        for (int row = 0; row < rows_; ++row) {
          gather_values(key, n, seen_here, row);
          add({rows, stride, round_up(n, 2)}, key - block.begin, row, row + 1);
        }
      }
      key += n;
    }
  }

  struct ValueRows {
    const Bf16* at;
    std::int64_t stride, n;
    bool fetch = false;
    Ahead ahead{};
  };
  void add(const ValueRows& v, std::int64_t first, int row_begin, int row_end) {
    bf16_leaf::row_values({v.at,
                           v.stride,
                           v.fetch,
                           {v.ahead.delta[0], v.ahead.delta[1], v.ahead.delta[2]},
                           item_.v_dim,
                           static_cast<int>(v.n / 2),
                           memory_.p + row_begin * kWeightStride + first / 2,
                           kWeightStride,
                           row_end - row_begin,
                           state_.o + row_begin * o_stride_,
                           o_stride_});
  }

  // Values of keys [first, first + n) into v_rows, and one row of zeros after an odd n; evicted
  // keys and, where seen is given, those that the row does not see are zeros. True if one is NaN or
  // infinite.
  bool gather_values(std::int64_t first, std::int64_t n, const SeenBits& seen, int row) {
    const KvView& kv = *item_.kv;
    std::memset(
        memory_.v_rows, 0,
        static_cast<std::size_t>(round_up(n, 2) * memory_.v_stride) * sizeof(std::uint32_t));
    std::uint32_t found = 0;
    for (std::int64_t i = 0; i < n;) {
      const KvSegment<Bf16> part = cursor_.segment(first + i, first + n);
      for (std::int64_t j = 0; part.v != nullptr && j < part.n; ++j) {
        if (seen.given() && !seen.sees(row, i + j)) continue;
        std::uint32_t* out = memory_.v_rows + (i + j) * memory_.v_stride;
        copy_pairs(part.v + j * kv.v_token_stride, kv.v_dim_stride, item_.v_dim, out);
        const auto* values = reinterpret_cast<const Bf16*>(out);
        for (int c = 0; c < item_.v_dim; ++c) found |= (values[c].bits & 0x7f80) == 0x7f80;
      }
      i += part.n;
    }
    return found != 0;
  }

  const FlashForwardItem& item_;
  const PairDecodeMemory& memory_;
  ScoreScale scale_;
  KvCursor<Bf16> cursor_;  // of values
  KeyTiles<Bf16> keys_;
  std::int64_t ahead_keys_;
  DecodeState<float> state_;
  HiddenByBias hidden_;  // of the block at hand
  int rows_;
  std::int64_t o_stride_;
};

void decode_split_bf16(const FlashForwardItem& item, std::int64_t split, float* state,
                       std::byte* workspace) noexcept {
  const FloatingPointMode mode;
  WorkspaceCutter cutter(workspace);
  const PairDecodeMemory memory = cut_pair_decode_memory(item.head_dim, item.v_dim, cutter);
  PairDecode(item, memory, state).run(split);
}

}  // namespace RAPTLY_TARGET
}  // namespace raptly
RAPTLY_AFTER_TARGET();
#endif
#endif
