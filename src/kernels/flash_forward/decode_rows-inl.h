// What the parts of the decode driver share: its memory, the rows of its item,
// and the prefetch of keys and values.
#if defined(RAPTLY_DECODE_ROWS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RAPTLY_DECODE_ROWS_INL_H
#undef RAPTLY_DECODE_ROWS_INL_H
#else
#define RAPTLY_DECODE_ROWS_INL_H
#endif

#include "kernels/flash_forward/bias-inl.h"
#include "kernels/flash_forward/decode_state.h"
#include "kernels/flash_forward/kv_cursor.h"
#include "kernels/flash_forward/panel-inl.h"
#if RAPTLY_TARGET_ENABLED
RAPTLY_BEFORE_TARGET();
namespace raptly {
namespace RAPTLY_TARGET {

constexpr std::int64_t kValueKeys = 32;  // keys of V at a time: their rows stay in L1
constexpr int kMaxTileKeys = 32;         // keys of K at a time

// Rows that share one transpose of K and one load of V. More rows go in several
// passes.
constexpr int kMaxPassRows = kRegisters == 32 ? 8 : 6;
constexpr int kMaxPasses = (kMaxDecodeRows + kMaxPassRows - 1) / kMaxPassRows;

struct DecodePass {
  int first, n;  // rows
};
struct DecodeRows {
  int n = 0;
  int n_passes = 0;
  DecodePass passes[kMaxPasses];
  DecodeState<float> state{};  // of this split
  std::int64_t d = 0, dv = 0;  // widths of the rows of q and of o
};

// f(integral_constant<n>): n, 1 .. kMaxPassRows, as a constant.
template <class F>
RAPTLY_INLINE void with_pass_rows(int n, F&& f) {
  each<kMaxPassRows>([&](auto i) RAPTLY_LAMBDA {
    if (n == i + 1) f(std::integral_constant<int, i + 1>());
  });
}

// Keys [begin, end) of one block, with the bits of its span (null: all rows see all keys).
struct DecodeBlock {
  std::int64_t begin, end;
  const std::uint64_t* bits;
  int n() const { return static_cast<int>(end - begin); }
};

// Which rows see a key of a block.
struct SeenBits {
  const std::uint64_t* bits = nullptr;  // of the span's keys; null: the mask hides none
  std::uint64_t all = 0;                // bits of all queries
  int group = 1;
  const HiddenByBias* bias = nullptr;  // null: the bias hides none
  std::int64_t first = 0;              // key 0 of these is key `first` of `bias`

  bool given() const { return bits != nullptr || bias != nullptr; }
  bool hides(std::int64_t key) const {
    return (bits != nullptr && (bits[key] & all) != all) ||
           (bias != nullptr && bias->hides(kMaxDecodeRows, first + key));
  }
  bool sees(int row, std::int64_t key) const {
    return (bits == nullptr || (bits[key] >> (row / group) & 1) != 0) &&
           (bias == nullptr || !bias->hides(row, first + key));
  }
  SeenBits from(std::int64_t key) const {
    return {bits != nullptr ? bits + key : nullptr, all, group, bias, first + key};
  }
};

// Scores of so many blocks are computed before the values of the first are added: at each change
// from K to V and back some 800 cycles pass until memory is read at full speed.
constexpr int kMostScoreBlocks = kSplitKeys / kBlockKeys;
constexpr int kScoreFloats = 2 * kMaxDecodeRows * static_cast<int>(kBlockKeys);
inline int score_blocks(int rows) {
  return std::min(kMostScoreBlocks, kScoreFloats / (rows * static_cast<int>(kBlockKeys)));
}

// score(block, s) and, later, attend(block, s) for the blocks of a split in the order of the plan.
// s: where the scores of the block are, [rows][kBlockKeys].
template <class Score, class Attend>
void each_block(const FlashForwardItem& item, std::int64_t split_begin, int rows, float* scores,
                Score&& score, Attend&& attend) {
  const int most = score_blocks(rows);
  const std::int64_t stride = rows * kBlockKeys, split_end = split_begin + kSplitKeys;
  DecodeBlock blocks[kMostScoreBlocks];
  int n = 0;
  const auto attend_all = [&] {
    for (int i = 0; i < n; ++i) attend(blocks[i], scores + i * stride);
    n = 0;
  };
  for (const TileSpan& span : item.tiles.front().spans) {
    const std::int64_t end = std::min(split_end, span.first_key + span.n_keys);
    for (std::int64_t key = std::max(split_begin, span.first_key); key < end;) {
      const std::int64_t next = std::min(end, (key / kBlockKeys + 1) * kBlockKeys);
      blocks[n] = {key, next, span.bits == nullptr ? nullptr : span.bits + (key - span.first_key)};
      score(blocks[n], scores + n * stride);
      if (++n == most) attend_all();
      key = next;
    }
  }
  attend_all();
}

struct DecodeMemory {
  float* q;            // a pass after the other, each [width of head_dim][rows of the
                       // pass], scaled; kLanes more may be read
  float* q_row;        // one row of q
  float* scores;       // [score_blocks(rows)][rows][kBlockKeys], then p
  float* bias_values;  // [kBlockKeys], of one row
  std::byte* tile[2];  // K of kMaxTileKeys keys: rows of tile_row_bytes
  float* v_rows;       // [kValueKeys][width of v_dim]: values that cannot be read as
                       // they lie
};

// One line more than the row: a power of two would put all rows into the same
// sets of L1.
inline std::int64_t tile_row_bytes(std::int64_t d, std::size_t size) {
  return round_up(d * static_cast<std::int64_t>(size), 64) + 64;
}

inline DecodeMemory cut_decode_memory(int head_dim, int v_dim, WorkspaceCutter& cutter) {
  const std::int64_t d = round_up(head_dim, 16), dv = round_up(v_dim, 16);
  DecodeMemory memory;
  memory.q = cutter.take<float>(kMaxDecodeRows * d + kLanes);
  memory.q_row = cutter.take<float>(d);
  memory.scores = cutter.take<float>(kScoreFloats);
  memory.bias_values = cutter.take<float>(kBlockKeys);
  for (std::byte*& tile : memory.tile) {
    tile = cutter.take<std::byte>(kMaxTileKeys * tile_row_bytes(d, sizeof(float)));
  }
  memory.v_rows = cutter.take<float>(kValueKeys * dv);
  return memory;
}

// Keys or values to fetch into L2 beside those that are read now: how many
// bytes away they lie.
//
// Three of them, 1, 2 and 3 distances ahead, so that every line is asked for
// three times: a Zen 4 core drops prefetches while its 24 miss buffers are
// full, and once the reads themselves miss, they keep the buffers full. With
// one request a line, D 128 f32, 1 row: 14 GB/s with the rows of a head 4 KiB
// apart, 33 with them side by side; with three 33 and 39 (memory: 45). Hint T1:
// T0 waits in the same buffers and ends at 13.
struct Ahead {
  static constexpr int kRequests = 3;
  std::intptr_t delta[kRequests] = {};

  template <int kMost = kRequests>
  RAPTLY_INLINE void fetch(const void* at) const {
    each<kMost>([&](auto i) RAPTLY_LAMBDA {
      __builtin_prefetch(
          reinterpret_cast<const void*>(reinterpret_cast<std::intptr_t>(at) + delta[i]), 0, 2);
    });
  }
};

// Keys of a distance: 16, or as many as have 4 KiB.
inline std::int64_t ahead_keys(std::int64_t row_bytes) {
  return std::clamp<std::int64_t>(round_up(4096 / row_bytes, 16), 16, 64);
}

// `at`: K or V (`member`) of `key`, `stride` elements a row.
template <class T>
Ahead find_ahead(KvCursor<T>& cursor, const T* KvSegment<T>::* member, std::int64_t key,
                 std::int64_t length, const RowSource<T>& rows, std::int64_t distance) {
  Ahead ahead;
  const std::int64_t last = std::min(key + Ahead::kRequests * distance, length - 1);
  const bool one_run = cursor.segment(key, last + 1).n == last + 1 - key;
  for (int i = 0; i < Ahead::kRequests; ++i) {
    const std::int64_t other = key + (i + 1) * distance;
    if (other >= length) break;
    if (one_run) {
      ahead.delta[i] = (i + 1) * distance * rows.stride * static_cast<std::int64_t>(sizeof(T));
    } else if (const T* at = cursor.segment(other, other + 1).*member) {
      ahead.delta[i] =
          reinterpret_cast<std::intptr_t>(at) - reinterpret_cast<std::intptr_t>(rows.at);
    }
  }
  return ahead;
}

}  // namespace RAPTLY_TARGET
}  // namespace raptly
RAPTLY_AFTER_TARGET();
#endif
#endif
