// The decode driver: at most kMaxDecodeRows rows of one key head, one split of keys at a time.
// Lane = key for the scores (a tile of K is transposed), lane = d for the output (V is read as it
// lies). The arithmetic of a row is that of the prefill driver, value by value.
#if defined(RAPTLY_FORWARD_DECODE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RAPTLY_FORWARD_DECODE_INL_H
#undef RAPTLY_FORWARD_DECODE_INL_H
#else
#define RAPTLY_FORWARD_DECODE_INL_H
#endif

#include "base/floating_point_mode.h"
#include "kernels/flash_forward/decode_state.h"
#include "kernels/flash_forward/kv_cursor.h"
#include "kernels/flash_forward/panel-inl.h"
#include "kernels/microkernel/mm-inl.h"
#include "kernels/softmax_state/softcap-inl.h"
#if RAPTLY_TARGET_ENABLED
RAPTLY_BEFORE_TARGET();
namespace raptly {
namespace RAPTLY_TARGET {

constexpr std::int64_t kValueKeys =
    32;  // keys of V at a time: their rows fit L1 whatever the stride

struct DecodeMemory {
  float* q;       // [rows][width of head_dim], scaled
  float* scores;  // [rows][kBlockKeys], then p
  float* k_tile;  // [head_dim rounded to 8][tile keys]
  float* k_rows;  // [kLanes][width of head_dim]: rows that cannot be transposed in place
  float* v_rows;  // [kValueKeys][width of v_dim]: the same for values
};

inline DecodeMemory cut_decode_memory(int head_dim, int v_dim, WorkspaceCutter& cutter) {
  const std::int64_t d = round_up(head_dim, 16), dv = round_up(v_dim, 16);
  DecodeMemory memory;
  memory.q = cutter.take<float>(kMaxDecodeRows * d);
  memory.scores = cutter.take<float>(kMaxDecodeRows * kBlockKeys);
  memory.k_tile = cutter.take<float>(d * 4 * kLanes);
  memory.k_rows = cutter.take<float>(kLanes * d);
  memory.v_rows = cutter.take<float>(kValueKeys * dv);
  return memory;
}

std::size_t decode_workspace_bytes(int head_dim, int v_dim) {
  WorkspaceCutter cutter(nullptr);
  cut_decode_memory(head_dim, v_dim, cutter);
  return cutter.used();
}

// Rows of memory to fetch ahead of their use, one whole row every so many steps: the hardware
// prefetcher cannot follow when each line serves several rows, and DRAM likes whole rows in order.
struct RowPrefetch {
  const char* at;
  std::int64_t stride_bytes, row_bytes;
  int every, left = 1;

  RAPTLY_INLINE void row() {
    for (std::int64_t i = 0; i < row_bytes; i += 64) __builtin_prefetch(at + i, 0, 2);
    at += stride_bytes;
  }
  RAPTLY_INLINE void step() {
    if (--left == 0) {
      row();
      left = every;
    }
  }
};

struct DecodeRows {
  int n = 0;
  DecodeState<float> state{};  // of this split
  std::int64_t d = 0, dv = 0;  // widths of the rows of q and of o
};

// Keys [begin, end) of one block, with the bits of its span (null: all rows see all keys).
struct DecodeBlock {
  std::int64_t begin, end;
  const std::uint64_t* bits;
  int n() const { return static_cast<int>(end - begin); }
};

template <class T>
class DecodeKeys {
 public:
  DecodeKeys(const FlashForwardItem& item, const DecodeMemory& memory)
      : item_(item), memory_(memory), cursor_(*item.kv, item.kv_head) {}

  // K of keys [first, first + kLanes) into columns of the tile; keys from `end` on are zero.
  void transpose_keys(std::int64_t first, std::int64_t end, float* out, std::int64_t out_stride) {
    const KvView& kv = *item_.kv;
    const KvSegment<T> whole = cursor_.segment(first, end);
    const std::int64_t columns = round_up(item_.head_dim, 4);
    if constexpr (!std::is_same_v<T, F16>) {
      if (whole.k != nullptr && whole.n >= kLanes && kv.k_dim_stride == 1 &&
          item_.head_dim % kTransposeColumns<T> == 0) {
        // The same rows of the next block.
        RowPrefetch ahead =
            prefetch(whole.k + kBlockKeys * kv.k_token_stride, kv.k_token_stride, item_.head_dim);
        const int steps = item_.head_dim / kTransposeColumns<T>;
        const int rows_a_step = (kLanes + steps - 1) / steps;
        transpose(RowSource<T>{whole.k, kv.k_token_stride}, item_.head_dim, out, out_stride,
                  [&]() RAPTLY_LAMBDA {
                    for (int i = 0; i < rows_a_step; ++i) ahead.row();
                  });
        return;
      }
    }
    const std::int64_t width = round_up(item_.head_dim, 16);
    std::memset(memory_.k_rows, 0, static_cast<std::size_t>(kLanes * width) * sizeof(float));
    for (std::int64_t key = first; key < std::min(first + kLanes, end);) {
      const KvSegment<T> part = cursor_.segment(key, std::min(first + kLanes, end));
      for (std::int64_t i = 0; part.k != nullptr && i < part.n; ++i) {
        RowPrefetch ahead =
            prefetch(part.k + (i + kBlockKeys) * kv.k_token_stride, 0, item_.head_dim);
        ahead.row();
        widen_row(part.k + i * kv.k_token_stride, kv.k_dim_stride, item_.head_dim,
                  memory_.k_rows + (key - first + i) * width);
      }
      key += part.n;
    }
    transpose(RowSource<float>{memory_.k_rows, width}, columns, out, out_stride);
  }

  // f(rows, stride, first key, n): V of [begin, end) in stretches of at most kValueKeys keys, as
  // they lie or widened.
  template <class F>
  RAPTLY_INLINE void each_value_stretch(std::int64_t begin, std::int64_t end, F&& f) {
    const KvView& kv = *item_.kv;
    const bool in_place = kv.v_dim_stride == 1 && item_.v_dim % kLanes == 0;
    const std::int64_t width = round_up(item_.v_dim, 16);
    for (std::int64_t key = begin; key < end;) {
      const KvSegment<T> part = cursor_.segment(key, std::min(end, key + kValueKeys));
      if (in_place && part.v != nullptr) {
        f(part.v, kv.v_token_stride, key, part.n);
      } else {
        std::memset(memory_.v_rows, 0, static_cast<std::size_t>(part.n * width) * sizeof(float));
        for (std::int64_t i = 0; part.v != nullptr && i < part.n; ++i) {
          widen_row(part.v + i * kv.v_token_stride, kv.v_dim_stride, item_.v_dim,
                    memory_.v_rows + i * width);
        }
        f(static_cast<const float*>(memory_.v_rows), width, key, part.n);
      }
      key += part.n;
    }
  }

  static RowPrefetch prefetch(const T* row, std::int64_t stride, std::int64_t n, int every = 1) {
    constexpr std::int64_t kSize = static_cast<std::int64_t>(sizeof(T));
    return {reinterpret_cast<const char*>(row), stride * kSize, n * kSize, every};
  }
  const FlashForwardItem& item() const { return item_; }
  const DecodeMemory& memory() const { return memory_; }

 private:
  const FlashForwardItem& item_;
  const DecodeMemory& memory_;
  KvCursor<T> cursor_;
};

// Scores of all rows against the keys of a block: memory.scores[row][key - block.begin].
template <int kTileVecs, class T>
void decode_scores(DecodeKeys<T>& keys, const DecodeRows& rows, const DecodeBlock& block) {
  constexpr int kTile = kTileVecs * kLanes;
  const DecodeMemory& memory = keys.memory();
  for (int at = 0; at < block.n(); at += kTile) {
    for (int part = 0; part < kTile; part += kLanes) {
      if (at + part < block.n()) {
        keys.transpose_keys(block.begin + at + part, block.end, memory.k_tile + part, kTile);
      }
    }
    mm_rows<kTileVecs, false>(rows.n, Broadcasts{memory.q, rows.d, 1},
                              LaneRows<float>{memory.k_tile, kTile},
                              Sums{memory.scores + at, kBlockKeys}, keys.item().head_dim);
  }
}

inline bool row_sees(const FlashForwardItem& item, int row, std::uint64_t bits) {
  return (bits >> (row / item.group) & 1) != 0;
}

// -inf where the row does not see the key, and from the end of the block on.
inline void mask_row(const FlashForwardItem& item, const DecodeBlock& block, int row, float* s) {
  for (int i = block.n(); i < kBlockKeys && i < block.n() + kLanes; ++i) s[i] = kMinusInfinity;
  if (block.bits == nullptr) return;
  for (int i = 0; i < block.n(); ++i) {
    if (!row_sees(item, row, block.bits[i])) s[i] = kMinusInfinity;
  }
}

// Scores of a row become p; its m, l and o follow.
inline void decode_softmax(const DecodeRows& rows, int row, float* s, int n8) {
  Vf best = set(kMinusInfinity);
  for (int i = 0; i < n8; i += kLanes) best = max(load(s + i), best);
  float highest = max_lane(best);
  if (std::fabs(highest) > kScoreLimit) {
    for (int i = 0; i < n8; i += kLanes) store(clamp_scores(load(s + i)), s + i);
    highest = first_lane(clamp_scores(set(highest)));
  }
  float& m = rows.state.m[row];
  float& l = rows.state.l[row];
  if (highest > m + kRescaleThreshold) {
    const float raised = first_lane(nearest_even(set(highest)));
    const Vf factor = pow2_integer(set(m - raised));
    m = raised;
    l *= first_lane(factor);
    float* o = rows.state.o + row * rows.dv;
    for (std::int64_t c = 0; c < rows.dv; c += kLanes) store(mul(load(o + c), factor), o + c);
  }
  const Pow2Base base(set(m));
  float part[8] = {};
  for (int i = 0; i < n8; i += kLanes) store(pow2(load(s + i), base), s + i);
  for (int i = 0; i < n8; i += 8) {
    for (int j = 0; j < 8; ++j) part[j] += s[i + j];
  }
  l += sum_tree(part, [](float a, float b) { return a + b; });
}

template <class T>
bool stretch_has_non_finite(const T* v, std::int64_t stride, std::int64_t n, std::int64_t v_dim) {
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t c = 0; c < v_dim; ++c) {
      float x;
      if constexpr (std::is_same_v<T, float>) {
        x = v[i * stride + c];
      } else {
        x = to_float(v[i * stride + c]);
      }
      if (!(std::fabs(x) <= std::numeric_limits<float>::max())) return true;
    }
  }
  return false;
}

template <int kValueVecs, class T, class V>
RAPTLY_INLINE void add_values(const DecodeKeys<T>& keys, const DecodeRows& rows, const float* p,
                              const LaneRows<V>& v, std::int64_t n) {
  const std::int64_t width = round_up(keys.item().v_dim, kLanes);
  constexpr int kColumns = kValueVecs * kLanes;
  RowPrefetch ahead{reinterpret_cast<const char*>(v.at + kBlockKeys * v.stride),
                    v.stride * static_cast<std::int64_t>(sizeof(V)),
                    keys.item().v_dim * static_cast<std::int64_t>(sizeof(V)),
                    static_cast<int>(std::max<std::int64_t>(1, width / kColumns))};
  std::int64_t c = 0;
  for (; c + kColumns <= width; c += kColumns) {
    mm_rows<kValueVecs, true>(rows.n, Broadcasts{p, kBlockKeys, 1}, LaneRows<V>{v.at + c, v.stride},
                              Sums{rows.state.o + c, rows.dv}, n, ahead);
  }
  for (; c < width; c += kLanes) {
    mm_rows<1, true>(rows.n, Broadcasts{p, kBlockKeys, 1}, LaneRows<V>{v.at + c, v.stride},
                     Sums{rows.state.o + c, rows.dv}, n, ahead);
  }
}

// Key by key, only to the rows that see it: for values that are not finite, since 0 * inf is NaN.
template <class T, class V>
void add_visible_values(const DecodeKeys<T>& keys, const DecodeRows& rows, const float* p,
                        const LaneRows<V>& v, std::int64_t n, const std::uint64_t* bits) {
  const std::int64_t width = round_up(keys.item().v_dim, kLanes);
  for (std::int64_t i = 0; i < n; ++i) {
    for (int row = 0; row < rows.n; ++row) {
      if (!row_sees(keys.item(), row, bits[i])) continue;
      float* o = rows.state.o + row * rows.dv;
      const Vf weight = set(p[row * kBlockKeys + i]);
      for (std::int64_t c = 0; c < width; c += kLanes) {
        store(fma(weight, load(v.at + i * v.stride + c), load(o + c)), o + c);
      }
    }
  }
}

template <int kTileVecs, int kValueVecs, class T>
void decode_block(DecodeKeys<T>& keys, const DecodeRows& rows, const Softcap& softcap,
                  const DecodeBlock& block) {
  float* scores = keys.memory().scores;
  decode_scores<kTileVecs>(keys, rows, block);
  const int n8 = (block.n() + 7) & ~7, padded = static_cast<int>(round_up(n8, kLanes));
  for (int row = 0; row < rows.n; ++row) {
    float* s = scores + row * kBlockKeys;
    if (softcap.given()) {
      for (int i = 0; i < padded; i += kLanes) store(softcap(load(s + i)), s + i);
    }
    mask_row(keys.item(), block, row, s);
    decode_softmax(rows, row, s, padded);
  }
  keys.each_value_stretch(
      block.begin, block.end,
      [&](const auto* v, std::int64_t stride, std::int64_t first, std::int64_t n) RAPTLY_LAMBDA {
        using V = std::remove_cvref_t<decltype(*v)>;
        const LaneRows<V> values{v, stride};
        const float* p = scores + (first - block.begin);
        if (block.bits != nullptr && stretch_has_non_finite(v, stride, n, keys.item().v_dim)) {
          add_visible_values(keys, rows, p, values, n, block.bits + (first - block.begin));
        } else {
          add_values<kValueVecs>(keys, rows, p, values, n);
        }
      });
}

template <int kTileVecs, int kValueVecs, class T>
void decode_blocks(DecodeKeys<T>& keys, const DecodeRows& rows, const QueryTile& tile,
                   std::int64_t split_begin) {
  const Softcap softcap(keys.item().softcap);
  const std::int64_t split_end = split_begin + kSplitKeys;
  for (const TileSpan& span : tile.spans) {
    const std::int64_t end = std::min(split_end, span.first_key + span.n_keys);
    for (std::int64_t key = std::max(split_begin, span.first_key); key < end;) {
      const std::int64_t next = std::min(end, (key / kBlockKeys + 1) * kBlockKeys);
      const std::uint64_t* bits =
          span.bits == nullptr ? nullptr : span.bits + (key - span.first_key);
      decode_block<kTileVecs, kValueVecs>(keys, rows, softcap, {key, next, bits});
      key = next;
    }
  }
}

// Tiles by rows, measured: few rows leave registers for more lanes.
template <class T>
void decode_rows(DecodeKeys<T>& keys, const DecodeRows& rows, const QueryTile& tile,
                 std::int64_t split_begin) {
  constexpr bool kWide = kRegisters == 32;
  if (rows.n > 4) return decode_blocks<kWide ? 2 : 1, kWide ? 2 : 1>(keys, rows, tile, split_begin);
  if (rows.n > 2) return decode_blocks<kWide ? 4 : 2, kWide ? 4 : 2>(keys, rows, tile, split_begin);
  decode_blocks<4, 4>(keys, rows, tile, split_begin);
}

template <class T>
void decode_split_of(const FlashForwardItem& item, std::int64_t split, const DecodeRows& rows,
                     const DecodeMemory& memory) {
  const QueryTile& tile = item.tiles.front();
  for (int row = 0; row < rows.n; ++row) {
    float* q = memory.q + row * rows.d;
    std::memset(q, 0, static_cast<std::size_t>(rows.d) * sizeof(float));
    read_scaled_query(item, row_of_lane(item, tile, row), q);
  }
  DecodeKeys<T> keys(item, memory);
  decode_rows(keys, rows, tile, split * kSplitKeys);
}

inline int decode_row_count(const FlashForwardItem& item) {
  return item.tiles.empty() ? 0 : item.tiles.front().n_queries * item.group;
}

void decode_split(const FlashForwardItem& item, std::int64_t split, float* state,
                  std::byte* workspace) noexcept {
  const FloatingPointMode mode;
  WorkspaceCutter cutter(workspace);
  const DecodeMemory memory = cut_decode_memory(item.head_dim, item.v_dim, cutter);
  DecodeRows rows;
  rows.n = decode_row_count(item);
  rows.state = decode_state(state);
  rows.d = round_up(item.head_dim, 16);
  rows.dv = round_up(item.v_dim, 16);
  for (int row = 0; row < rows.n; ++row) {
    rows.state.m[row] = -kScoreLimit;
    rows.state.l[row] = 0;
  }
  std::memset(rows.state.o, 0, static_cast<std::size_t>(rows.n * rows.dv) * sizeof(float));
  if (rows.n == 0) return;
  switch (item.kv->dtype) {
    case DType::kF16:
      return decode_split_of<F16>(item, split, rows, memory);
    case DType::kBf16:
      return decode_split_of<Bf16>(item, split, rows, memory);
    default:
      return decode_split_of<float>(item, split, rows, memory);
  }
}

void decode_merge(const FlashForwardItem& item, const DecodeStates& splits,
                  std::byte* workspace) noexcept {
  const FloatingPointMode mode;
  auto* total = reinterpret_cast<float*>(workspace);
  const std::int64_t dv = round_up(item.v_dim, 16);
  for (int row = 0; row < decode_row_count(item); ++row) {
    Vf m = set(-kScoreLimit), l = zero();
    std::memset(total, 0, static_cast<std::size_t>(dv) * sizeof(float));
    for (std::int64_t i = 0; i < splits.n; ++i) {
      const DecodeState<const float> state = decode_state(splits.first + i * splits.stride);
      const MergeFactors merge(m, set(state.m[row]));
      m = merge.m;
      l = merge(l, set(state.l[row]));
      const float* o = state.o + row * dv;
      for (std::int64_t c = 0; c < dv; c += kLanes) {
        store(merge(load(total + c), load(o + c)), total + c);
      }
    }
    finish_row(item, row_of_lane(item, item.tiles.front(), row), total, first_lane(m),
               first_lane(l));
  }
}

}  // namespace RAPTLY_TARGET
}  // namespace raptly
RAPTLY_AFTER_TARGET();
#endif
#endif
