// Scores of a decode block, lane = key: s = q k, one FMA chain over d ascending.
//
// K passes through a small tile of padded rows in L1. Copying the next tile line by line, in the
// order of memory, beside the arithmetic of this one costs a store a line and makes everything else
// simple: rows 4 KiB apart no longer share one set of L1 (the transpose reads a line four times),
// pages, odd dims and missing keys have one path. The transpose feeds the FMA from registers.
#if defined(RAPTLY_DECODE_SCORES_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RAPTLY_DECODE_SCORES_INL_H
#undef RAPTLY_DECODE_SCORES_INL_H
#else
#define RAPTLY_DECODE_SCORES_INL_H
#endif

#include "kernels/flash_forward/decode_rows-inl.h"
#include "kernels/simd/transpose-inl.h"
#if RAPTLY_TARGET_ENABLED
RAPTLY_BEFORE_TARGET();
namespace raptly {
namespace RAPTLY_TARGET {

// How keys stand in a tile: bf16 as it is, since a transpose of dwords takes two at a time.
template <class T>
using TileKey = std::conditional_t<std::is_same_v<T, Bf16>, Bf16, float>;

// Groups of kLanes keys whose chains run side by side: few rows have too few chains to hide the
// latency of FMA.
template <class K>
constexpr int dot_groups(int rows) {
  constexpr int kFew = kLanes >= 16 ? 1 : kLanes >= 8 ? 2 : 4;
  if (rows == 1) return std::is_same_v<K, Bf16> ? 2 * kFew : kFew;
  return rows == 2 ? kFew : 1;
}
template <class K>
constexpr int tile_keys(int rows) {
  return std::max(16, dot_groups<K>(rows) * kLanes);
}

// The copy of a tile, a line or less at a time.
template <class T>
struct TileCopy {
  // A step of the transpose takes this much of the rows in the tile.
  static constexpr int kStepBytes =
      kLanes * kTransposeColumns<TileKey<T>> * static_cast<int>(sizeof(T));
  static constexpr int kPieceBytes = std::min(64, kStepBytes);
  static constexpr int kPieces = kStepBytes / kPieceBytes;

  bool active = false;
  const std::byte* from = nullptr;
  std::byte* to = nullptr;
  std::int64_t from_gap = 0, to_gap = 0;  // from the end of a row to the next
  int row_pieces = 0, left = 0;           // of this row
  Ahead ahead{};

  // After each step of the transpose. As many steps as a tile has copy a tile.
  RAPTLY_INLINE void step() {
    if (!active) return;
    each<kPieces>([&](auto) RAPTLY_LAMBDA { piece(); });
  }

 private:
  RAPTLY_INLINE void piece() {
    ahead.fetch(from);
    if constexpr (std::is_same_v<T, F16>) {
      constexpr int kValues = kPieceBytes / 2;
      each<kValues / kLanes>([&](auto i) RAPTLY_LAMBDA {
        store(load(reinterpret_cast<const F16*>(from) + i * kLanes),
              reinterpret_cast<float*>(to) + i * kLanes);
      });
      to += 2 * kPieceBytes;
    } else {
      constexpr int kFloats = kPieceBytes / 4;
      each<kFloats / kLanes>([&](auto i) RAPTLY_LAMBDA {
        store(load(reinterpret_cast<const float*>(from) + i * kLanes),
              reinterpret_cast<float*>(to) + i * kLanes);
      });
      to += kPieceBytes;
    }
    from += kPieceBytes;
    if (--left == 0) {
      left = row_pieces;
      from += from_gap;
      to += to_gap;
    }
  }
};

template <class T>
class KeyTiles {
 public:
  using K = TileKey<T>;

  KeyTiles(const FlashForwardItem& item, const DecodeMemory& memory, int keys_a_tile)
      : item_(item),
        cursor_(*item.kv, item.kv_head),
        keys_(keys_a_tile),
        tiles_{reinterpret_cast<K*>(memory.tile[0]), reinterpret_cast<K*>(memory.tile[1])},
        stride_(tile_row_bytes(round_up(item.head_dim, 16), sizeof(K)) /
                static_cast<std::int64_t>(sizeof(K))),
        row_bytes_(item.head_dim * static_cast<std::int64_t>(sizeof(T))),
        ahead_keys_(ahead_keys(row_bytes_)),
        in_pieces_(item.kv->k_dim_stride == 1 && row_bytes_ % TileCopy<T>::kPieceBytes == 0) {}

  int keys() const { return keys_; }
  std::int64_t head_dim() const { return item_.head_dim; }
  std::int64_t stride() const { return stride_; }

  // Keys [first, first + keys()) as rows; those from `end` on may hold anything finite or not.
  const K* tile(std::int64_t first, std::int64_t end) {
    if (ready_ == first) {
      current_ ^= 1;
    } else {
      fill(first, std::min(end, first + keys_), tiles_[current_]);
    }
    ready_ = -1;
    return tiles_[current_];
  }

  // The copy of the tile that will probably be asked for next; not active where it cannot be made
  // in pieces.
  TileCopy<T> copy_of(std::int64_t first) {
    TileCopy<T> copy;
    const KvView& kv = *item_.kv;
    if (!in_pieces_ || first + keys_ > kv.length) return copy;
    const KvSegment<T> rows = cursor_.segment(first, first + keys_);
    if (rows.k == nullptr || rows.n < keys_) return copy;
    ready_ = first;
    copy.active = true;
    copy.from = reinterpret_cast<const std::byte*>(rows.k);
    copy.to = reinterpret_cast<std::byte*>(tiles_[current_ ^ 1]);
    copy.from_gap = kv.k_token_stride * static_cast<std::int64_t>(sizeof(T)) - row_bytes_;
    copy.to_gap = (stride_ - item_.head_dim) * static_cast<std::int64_t>(sizeof(K));
    copy.row_pieces = copy.left = static_cast<int>(row_bytes_ / TileCopy<T>::kPieceBytes);
    copy.ahead = ahead(first, rows.k);
    return copy;
  }

 private:
  Ahead ahead(std::int64_t key, const T* at) {
    return find_ahead(cursor_, &KvSegment<T>::k, key, item_.kv->length,
                      RowSource<T>{at, item_.kv->k_token_stride}, ahead_keys_);
  }

  // Row by row; keys without a row are zero, and so are the last columns of a step.
  void fill(std::int64_t first, std::int64_t end, K* tile) {
    const KvView& kv = *item_.kv;
    K* to = tile;
    for (std::int64_t key = first; key < end;) {
      const KvSegment<T> part = cursor_.segment(key, end);
      const Ahead next = part.k == nullptr ? Ahead() : ahead(key, part.k);
      for (std::int64_t i = 0; i < part.n; ++i, to += stride_) {
        if (part.k == nullptr) {
          std::memset(static_cast<void*>(to), 0, static_cast<std::size_t>(stride_) * sizeof(K));
          continue;
        }
        const T* row = part.k + i * kv.k_token_stride;
        for (std::int64_t at = 0; at < row_bytes_; at += 64) {
          next.fetch(reinterpret_cast<const std::byte*>(row) + at);
        }
        fill_row(row, to);
      }
      key += part.n;
    }
    for (K* last = tile + keys_ * stride_; to < last; to += stride_) {
      std::memset(static_cast<void*>(to), 0, static_cast<std::size_t>(stride_) * sizeof(K));
    }
  }
  void fill_row(const T* row, K* to) const {
    const std::int64_t n = item_.head_dim, dim_stride = item_.kv->k_dim_stride;
    if constexpr (std::is_same_v<K, float>) {
      widen_row(row, dim_stride, n, to);
    } else if (dim_stride == 1) {
      std::memcpy(static_cast<void*>(to), row, static_cast<std::size_t>(n) * sizeof(K));
    } else {
      for (std::int64_t c = 0; c < n; ++c) to[c] = row[c * dim_stride];
    }
    for (std::int64_t c = n; c < round_up(n, kTransposeColumns<K>); ++c) to[c] = K{};
  }

  const FlashForwardItem& item_;
  KvCursor<T> cursor_;
  int keys_;
  K* tiles_[2];
  std::int64_t stride_, row_bytes_, ahead_keys_;
  bool in_pieces_;
  int current_ = 0;
  std::int64_t ready_ = -1;  // the first key of the tile that copy_of() made
};

// scores[r][g * kLanes + lane] of kGroups * kLanes keys. q: [dims][kRows].
template <int kRows, int kGroups, class K, class Copy>
RAPTLY_INLINE void dot_keys(const float* __restrict q, const RowSource<K>& keys, std::int64_t dims,
                            float* __restrict scores, Copy& next) {
  Copy copy = next;  // a copy stays in registers
  Vf sum[kGroups][kRows];
  each<kGroups>([&](auto g) RAPTLY_LAMBDA {
    each<kRows>([&](auto r) RAPTLY_LAMBDA { sum[g][r] = zero(); });
  });
  const K* at = keys.at;
  for (std::int64_t c = 0; c < dims; c += kTransposeColumns<K>) {
    each<kGroups>([&](auto g) RAPTLY_LAMBDA {
      transpose_step(at + g * kLanes * keys.stride, keys.stride,
                     [&](auto k, const Vf& column) RAPTLY_LAMBDA {
                       each<kRows>([&](auto r) RAPTLY_LAMBDA {
                         sum[g][r] = fma(set(q[k * kRows + r]), column, sum[g][r]);
                       });
                     });
      copy.step();
    });
    at += kTransposeColumns<K>;
    q += kTransposeColumns<K> * kRows;
  }
  next = copy;
  each<kGroups>([&](auto g) RAPTLY_LAMBDA {
    each<kRows>([&](auto r)
                    RAPTLY_LAMBDA { store(sum[g][r], scores + r * kBlockKeys + g * kLanes); });
  });
}

// scores[row][key - block begin] of keys [begin, end) of a block. Those from `end` on, up to the
// end of a tile, get any score.
template <class T>
void score_block(KeyTiles<T>& tiles, const DecodeMemory& memory, const DecodeRows& rows,
                 std::int64_t begin, std::int64_t end) {
  using K = TileKey<T>;
  const int n = static_cast<int>(end - begin), n_tile = tiles.keys();
  for (int at = 0; at < n; at += n_tile) {
    const K* tile = tiles.tile(begin + at, end);
    TileCopy<T> copy = tiles.copy_of(std::min(begin + at + n_tile, end));
    for (int p = 0; p < rows.n_passes; ++p) {
      const DecodePass pass = rows.passes[p];
      const float* q = memory.q + pass.first * rows.d;
      float* scores = memory.scores + pass.first * kBlockKeys + at;
      with_pass_rows(pass.n, [&](auto n_rows) RAPTLY_LAMBDA {
        constexpr int kGroups = dot_groups<K>(n_rows);
        for (int key = 0; key < n_tile; key += kGroups * kLanes) {
          dot_keys<n_rows, kGroups>(q, RowSource<K>{tile + key * tiles.stride(), tiles.stride()},
                                    round_up(tiles.head_dim(), kTransposeColumns<K>), scores + key,
                                    copy);
        }
      });
      copy.active = false;
    }
  }
}

}  // namespace RAPTLY_TARGET
}  // namespace raptly
RAPTLY_AFTER_TARGET();
#endif
#endif
