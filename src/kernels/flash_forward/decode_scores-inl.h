// Scores of a decode block, lane = key: s = q k, one FMA chain over d
// ascending.
//
// Tiles of 16 or 32 keys are transposed in registers, column by column, which
// feed the FMA. That reads 16 rows at once, an order that memory is slow at; so
// the next tile is brought into L1 meanwhile, line by line in the order of
// memory: by touching its lines where they lie, or, where its rows would share
// the sets of L1, come from several pages or have odd sizes, by copying them
// into a tile of padded rows.
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

// Groups of kLanes keys whose chains run side by side: few rows have too few
// chains to hide the latency of FMA.
template <class T>
constexpr int dot_groups(int rows) {
  constexpr int kSmall = sizeof(T) == 2 ? 2 : 1;
  if (kLanes >= 16) return rows <= 4 ? (rows == 1 && kSmall == 1 ? 1 : 2) : 1;
  if (kLanes >= 8) return rows == 1 ? 2 * kSmall : rows == 2 ? 2 : 1;
  return rows <= 2 ? 4 : 1;
}
// Keys of a tile: whole groups of every pass.
template <class T>
int tile_keys(const DecodeRows& rows) {
  int keys = 16;
  for (int i = 0; i < rows.n_passes; ++i) {
    keys = std::max(keys, dot_groups<T>(rows.passes[i].n) * kLanes);
  }
  return keys;
}

// A block of at most so many keys, a short sequence or the end of a long one, is not worth a tile:
// each key is a chain of its own, lane = row.
constexpr int kFewKeys = 4;

// Brings the next tile into L1, a line or less at a time.
class TileLoad {
 public:
  // As many bytes as a step of the transpose takes from the rows of this tile,
  // so that as many steps as a tile has bring a tile.
  static constexpr int kStepBytes = kLanes * 16;
  static constexpr int kPieceBytes = std::min(64, kStepBytes);

  TileLoad() = default;  // of nothing
  // to: null leaves the rows where they are. row_bytes: whole pieces.
  TileLoad(const void* from, std::int64_t from_stride_bytes, void* to, std::int64_t to_stride_bytes,
           std::int64_t row_bytes, const Ahead& ahead)
      : from_(static_cast<const std::byte*>(from)),
        to_(static_cast<std::byte*>(to)),
        from_gap_(from_stride_bytes - row_bytes),
        to_gap_(to_stride_bytes - row_bytes),
        row_pieces_(static_cast<int>(row_bytes / kPieceBytes)),
        left_(row_pieces_),
        ahead_(ahead) {}

  RAPTLY_INLINE void step() {
    if (from_ == nullptr) return;
    if (to_ == nullptr) {
      each<kStepBytes / kPieceBytes>([&](auto) RAPTLY_LAMBDA {
        ahead_.fetch<2>(from_);
        static_cast<void>(*static_cast<const volatile std::byte*>(from_));
        next();
      });
      return;
    }
    each<kStepBytes / kPieceBytes>([&](auto) RAPTLY_LAMBDA {
      ahead_.fetch(from_);
      each<kPieceBytes / 4 / kLanes>([&](auto i) RAPTLY_LAMBDA {
        store(load(reinterpret_cast<const float*>(from_) + i * kLanes),
              reinterpret_cast<float*>(to_) + i * kLanes);
      });
      to_ += left_ == 1 ? kPieceBytes + to_gap_ : kPieceBytes;
      next();
    });
  }

 private:
  RAPTLY_INLINE void next() {
    from_ += kPieceBytes;
    if (--left_ == 0) {
      left_ = row_pieces_;
      from_ += from_gap_;
    }
  }

  const std::byte* from_ = nullptr;
  std::byte* to_ = nullptr;
  std::int64_t from_gap_ = 0, to_gap_ = 0;  // from the end of a row to the next
  int row_pieces_ = 0, left_ = 0;           // of this row
  Ahead ahead_{};
};

template <class T>
class KeyTiles {
 public:
  KeyTiles(const FlashForwardItem& item, std::byte* const (&tiles)[2], int keys_a_tile,
           bool in_place = true)
      : item_(item),
        cursor_(*item.kv, item.kv_head),
        keys_(keys_a_tile),
        tiles_{reinterpret_cast<T*>(tiles[0]), reinterpret_cast<T*>(tiles[1])},
        stride_(tile_row_bytes(round_up(item.head_dim, 16), sizeof(T)) / kSize),
        row_bytes_(item.head_dim * kSize),
        ahead_keys_(ahead_keys(row_bytes_)),
        in_pieces_(item.kv->k_dim_stride == 1 && row_bytes_ % TileLoad::kPieceBytes == 0),
        in_place_(in_place && item.kv->k_dim_stride == 1 &&
                  item.head_dim % kTransposeColumns<T> == 0 &&
                  spreads_over_sets(item.kv->k_token_stride * kSize)) {}

  int keys() const { return keys_; }
  std::int64_t head_dim() const { return item_.head_dim; }
  std::int64_t steps() const {
    return (item_.head_dim + kTransposeColumns<T> - 1) / kTransposeColumns<T>;
  }

  // Keys [first, first + keys()) as rows; those from `end` on may hold
  // anything, NaN too.
  RowSource<T> tile(std::int64_t first, std::int64_t end) {
    if (in_place_) {
      if (const T* rows = whole_tile(first)) return {rows, item_.kv->k_token_stride};
    }
    if (ready_ == first) {
      current_ ^= 1;
    } else {
      fill(first, std::min(end, first + keys_), tiles_[current_]);
    }
    ready_ = -1;
    return {tiles_[current_], stride_};
  }

  // Loads the tile that will probably be asked for next.
  TileLoad load_of(std::int64_t first) {
    const T* rows = in_pieces_ || in_place_ ? whole_tile(first) : nullptr;
    if (rows == nullptr) return TileLoad();
    const std::int64_t stride_bytes = item_.kv->k_token_stride * kSize;
    if (in_place_) {
      const std::int64_t lines = round_up(row_bytes_, TileLoad::kPieceBytes);
      return {rows, stride_bytes, nullptr, 0, lines, ahead(first, rows)};
    }
    ready_ = first;
    return {rows,       stride_bytes,      tiles_[current_ ^ 1], stride_ * kSize,
            row_bytes_, ahead(first, rows)};
  }

  // Rows of keys [first, first + n) as f32, n <= kFewKeys; evicted ones are zero.
  void few(std::int64_t first, int n, const float* (&rows)[kFewKeys]) {
    auto* to = reinterpret_cast<float*>(tiles_[current_]);
    for (int i = 0; i < n; ++i, to += round_up(item_.head_dim, 16)) {
      const T* k = cursor_.segment(first + i, first + i + 1).k;
      rows[i] = to;
      if (k == nullptr) {
        std::memset(to, 0, static_cast<std::size_t>(item_.head_dim) * sizeof(float));
      } else if constexpr (std::is_same_v<T, float>) {
        if (item_.kv->k_dim_stride == 1) {
          rows[i] = k;
          continue;
        }
        widen_row(k, item_.kv->k_dim_stride, item_.head_dim, to);
      } else {
        widen_row(k, item_.kv->k_dim_stride, item_.head_dim, to);
      }
    }
  }

 private:
  static constexpr std::int64_t kSize = sizeof(T);

  // Rows of a tile in at least four different sets of L1 (4 KiB a way), so that
  // 16 take 4 ways.
  static bool spreads_over_sets(std::int64_t stride_bytes) { return stride_bytes % 2048 != 0; }

  // Its rows, if they lie in one run.
  const T* whole_tile(std::int64_t first) {
    if (first + keys_ > item_.kv->length) return nullptr;
    const KvSegment<T> rows = cursor_.segment(first, first + keys_);
    return rows.n < keys_ ? nullptr : rows.k;
  }
  Ahead ahead(std::int64_t key, const T* at) {
    return find_ahead(cursor_, &KvSegment<T>::k, key, item_.kv->length,
                      RowSource<T>{at, item_.kv->k_token_stride}, ahead_keys_);
  }

  // Row by row; keys without a row are zero, and so are the last columns of a
  // step.
  void fill(std::int64_t first, std::int64_t end, T* tile) {
    const KvView& kv = *item_.kv;
    T* to = tile;
    for (std::int64_t key = first; key < end;) {
      const KvSegment<T> part = cursor_.segment(key, end);
      const Ahead next = part.k == nullptr ? Ahead() : ahead(key, part.k);
      for (std::int64_t i = 0; i < part.n; ++i, to += stride_) {
        if (part.k == nullptr) {
          clear_row(to);
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
    for (T* last = tile + keys_ * stride_; to < last; to += stride_) clear_row(to);
  }
  void clear_row(T* to) const {
    std::memset(static_cast<void*>(to), 0, static_cast<std::size_t>(stride_ * kSize));
  }
  void fill_row(const T* row, T* to) const {
    const std::int64_t n = item_.head_dim, dim_stride = item_.kv->k_dim_stride;
    if (dim_stride == 1) {
      std::memcpy(static_cast<void*>(to), row, static_cast<std::size_t>(row_bytes_));
    } else {
      for (std::int64_t c = 0; c < n; ++c) to[c] = row[c * dim_stride];
    }
    for (std::int64_t c = n; c < round_up(n, kTransposeColumns<T>); ++c) to[c] = T{};
  }

  const FlashForwardItem& item_;
  KvCursor<T> cursor_;
  int keys_;
  T* tiles_[2];
  std::int64_t stride_, row_bytes_, ahead_keys_;
  bool in_pieces_;  // rows can be copied in pieces
  bool in_place_;   // rows can be transposed where they lie
  int current_ = 0;
  std::int64_t ready_ = -1;  // the first key of the tile that a load of load_of() copied
};

// scores[r][g * kLanes + lane] of kGroups * kLanes keys. q: [dims][kRows].
template <int kRows, int kGroups, class T>
RAPTLY_INLINE void dot_keys(const float* __restrict q, const RowSource<T>& keys, std::int64_t steps,
                            float* __restrict scores, TileLoad& next) {
  TileLoad load_next = next;  // a copy stays in registers
  Vf sum[kGroups][kRows];
  each<kGroups>([&](auto g) RAPTLY_LAMBDA {
    each<kRows>([&](auto r) RAPTLY_LAMBDA { sum[g][r] = zero(); });
  });
  const T* at = keys.at;
  for (std::int64_t i = 0; i < steps; ++i) {
    each<kGroups>([&](auto g) RAPTLY_LAMBDA {
      const float* weights = q;
      __asm__("" : "+r"(weights));  // not one register a value of q for all groups
      transpose_step(at + g * kLanes * keys.stride, keys.stride,
                     [&](auto k, const Vf& column) RAPTLY_LAMBDA {
                       each<kRows>([&](auto r) RAPTLY_LAMBDA {
                         sum[g][r] = fma(set(weights[k * kRows + r]), column, sum[g][r]);
                       });
                     });
      load_next.step();
    });
    at += kTransposeColumns<T>;
    q += kTransposeColumns<T> * kRows;
  }
  next = load_next;
  each<kGroups>([&](auto g) RAPTLY_LAMBDA {
    each<kRows>([&](auto r)
                    RAPTLY_LAMBDA { store(sum[g][r], scores + r * kBlockKeys + g * kLanes); });
  });
}

// scores[r][i] of kKeys keys, k[i] their rows. q: [dims][rows].
template <int kKeys>
RAPTLY_INLINE void dot_few_keys(const float* __restrict q, int rows,
                                const float* const (&k)[kFewKeys], std::int64_t dims,
                                float* __restrict scores) {
  for (int first = 0; first < rows; first += kLanes) {
    Vf sum[kKeys];
    each<kKeys>([&](auto i) RAPTLY_LAMBDA { sum[i] = zero(); });
    for (std::int64_t c = 0; c < dims; ++c) {
      const Vf weights = load(q + c * rows + first);  // lanes beyond the rows are not used
      each<kKeys>([&](auto i) RAPTLY_LAMBDA { sum[i] = fma(weights, set(k[i][c]), sum[i]); });
    }
    each<kKeys>([&](auto i) RAPTLY_LAMBDA {
      float lanes[kLanes];
      store(sum[i], lanes);
      for (int r = first; r < std::min(rows, first + kLanes); ++r) {
        scores[r * kBlockKeys + i] = lanes[r - first];
      }
    });
  }
}

template <class T>
void score_few_keys(KeyTiles<T>& tiles, const DecodeMemory& memory, const DecodeRows& rows,
                    const DecodeBlock& block, float* out) {
  const float* k[kFewKeys];
  tiles.few(block.begin, block.n(), k);
  for (int p = 0; p < rows.n_passes; ++p) {
    const DecodePass pass = rows.passes[p];
    each<kFewKeys>([&](auto i) RAPTLY_LAMBDA {
      if (block.n() == i + 1) {
        dot_few_keys<i + 1>(memory.q + pass.first * rows.d, pass.n, k, tiles.head_dim(),
                            out + pass.first * kBlockKeys);
      }
    });
  }
}

// out[row][key - block.begin] of the keys of a block. Those from its end on, up to the end of a
// tile, get any score.
template <class T>
void score_block(KeyTiles<T>& tiles, const DecodeMemory& memory, const DecodeRows& rows,
                 const DecodeBlock& block, float* out) {
  if (block.n() <= kFewKeys) return score_few_keys(tiles, memory, rows, block, out);
  const std::int64_t begin = block.begin, end = block.end;
  const int n = block.n(), n_tile = tiles.keys();
  for (int at = 0; at < n; at += n_tile) {
    const RowSource<T> tile = tiles.tile(begin + at, end);
    TileLoad next = tiles.load_of(std::min(begin + at + n_tile, end));
    for (int p = 0; p < rows.n_passes; ++p) {
      const DecodePass pass = rows.passes[p];
      const float* q = memory.q + pass.first * rows.d;
      float* scores = out + pass.first * kBlockKeys + at;
      with_pass_rows(pass.n, [&](auto n_rows) RAPTLY_LAMBDA {
        constexpr int kGroups = dot_groups<T>(n_rows);
        for (int key = 0; key < n_tile; key += kGroups * kLanes) {
          dot_keys<n_rows, kGroups>(q, RowSource<T>{tile.at + key * tile.stride, tile.stride},
                                    tiles.steps(), scores + key, next);
        }
      });
      next = TileLoad();
    }
  }
}

}  // namespace RAPTLY_TARGET
}  // namespace raptly
RAPTLY_AFTER_TARGET();
#endif
#endif
