// o += p V of a decode block, lane = d: V is read as it lies, row after row.
#if defined(RAPTLY_DECODE_VALUES_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RAPTLY_DECODE_VALUES_INL_H
#undef RAPTLY_DECODE_VALUES_INL_H
#else
#define RAPTLY_DECODE_VALUES_INL_H
#endif

#include "kernels/flash_forward/decode_rows-inl.h"
#if RAPTLY_TARGET_ENABLED
RAPTLY_BEFORE_TARGET();
namespace raptly {
namespace RAPTLY_TARGET {

// bf16 read as dwords: of each 2 * kLanes values the even ones, then the odd ones, at a shift and a
// mask for both where widening in order takes two shuffles and two shifts. o has this order until
// the split ends.
struct PairedBf16 {
  Bf16 value;
};
template <class V>
constexpr int kLoadVecs = std::is_same_v<V, PairedBf16> ? 2 : 1;

template <class V>
RAPTLY_INLINE void load_values(const V* p, Vf (&out)[kLoadVecs<V>]) {
  if constexpr (kLoadVecs<V> == 1) {
    out[0] = load(p);
  } else {
#if defined(RAPTLY_SCALAR_BUILD)
    for (int i = 0; i < kLanes; ++i) {
      out[0].lane[i] = to_float(p[2 * i].value);
      out[1].lane[i] = to_float(p[2 * i + 1].value);
    }
#else
    const Vi pair = hn::LoadU(kI, reinterpret_cast<const std::int32_t*>(p));
    out[0] = from_bits(shift_left<16>(pair));
    out[1] = from_bits(bit_and(pair, set_bits(0xffff0000u)));
#endif
  }
}

// o of one row from the order of PairedBf16 into that of memory. scratch: width floats.
inline void restore_order(float* o, std::int64_t width, float* scratch) {
  std::memcpy(scratch, o, static_cast<std::size_t>(width) * sizeof(float));
  for (std::int64_t c = 0; c < width; c += 2 * kLanes) {
    for (int i = 0; i < kLanes; ++i) {
      o[c + 2 * i] = scratch[c + i];
      o[c + 2 * i + 1] = scratch[c + kLanes + i];
    }
  }
}

// Vectors of o a register tile of so many rows takes. Few rows take a whole row
// of V at a time, so that memory is read in order.
constexpr int value_vecs(int rows) {
  constexpr int kWide[] = {8, 8, 8, 4, 4, 4, 2, 2};  // 32 registers
  constexpr int kNarrow[] = {8, 4, 2, 2, 2, 2};      // 16 registers
  return kRegisters == 32 ? kWide[rows - 1] : kNarrow[rows - 1];
}

// Keys of a block whose values lie side by side (n rows), and their p of the
// first row.
template <class V>
struct ValueRows {
  const V* at;
  std::int64_t stride;
  int n;
  const float* p;
  Ahead ahead{};
  bool in_order = false;  // no gaps between the rows: the hardware prefetcher follows them
};

template <int kRows, int kVecs, bool kFetch, class V>
RAPTLY_INLINE void add_columns(const ValueRows<V>& values, std::int64_t column, float* o,
                               std::int64_t dv) {
  constexpr int kLoad = kLoadVecs<V>;
  static_assert(kVecs % kLoad == 0);
  const V* __restrict v = values.at + column;
  const float* __restrict p = values.p;
  const Ahead ahead = values.ahead;
  Vf sum[kRows][kVecs];
  each<kRows>([&](auto r) RAPTLY_LAMBDA {
    each<kVecs>([&](auto j) RAPTLY_LAMBDA { sum[r][j] = load(o + r * dv + j * kLanes); });
  });
  for (int i = 0; i < values.n; ++i, v += values.stride, ++p) {
    if constexpr (kFetch) {
      constexpr int kBytes = kVecs * kLanes * static_cast<int>(sizeof(V));
      each<(kBytes + 63) / 64>([&](auto line) RAPTLY_LAMBDA {
        ahead.fetch(reinterpret_cast<const std::byte*>(v) + line * 64);
      });
    }
    if constexpr (kRows < kVecs) {  // the fewer operands stay in registers
      Vf weight[kRows];
      each<kRows>([&](auto r) RAPTLY_LAMBDA { weight[r] = set(p[r * kBlockKeys]); });
      each<kVecs / kLoad>([&](auto unit) RAPTLY_LAMBDA {
        Vf lanes[kLoad];
        load_values(v + unit * kLoad * kLanes, lanes);
        each<kLoad>([&](auto j) RAPTLY_LAMBDA {
          constexpr int kAt = unit * kLoad + j;
          each<kRows>([&](auto r)
                          RAPTLY_LAMBDA { sum[r][kAt] = fma(weight[r], lanes[j], sum[r][kAt]); });
        });
      });
    } else {
      Vf lanes[kVecs];
      each<kVecs / kLoad>([&](auto unit) RAPTLY_LAMBDA {
        Vf some[kLoad];
        load_values(v + unit * kLoad * kLanes, some);
        each<kLoad>([&](auto j) RAPTLY_LAMBDA { lanes[unit * kLoad + j] = some[j]; });
      });
      each<kRows>([&](auto r) RAPTLY_LAMBDA {
        const Vf weight = set(p[r * kBlockKeys]);
        each<kVecs>([&](auto j) RAPTLY_LAMBDA { sum[r][j] = fma(weight, lanes[j], sum[r][j]); });
      });
    }
  }
  each<kRows>([&](auto r) RAPTLY_LAMBDA {
    each<kVecs>([&](auto j) RAPTLY_LAMBDA { store(sum[r][j], o + r * dv + j * kLanes); });
  });
}

// True if a pass of so many rows reads memory in order, a row of V after the
// other.
constexpr bool takes_whole_rows(int rows, std::int64_t width) {
  return value_vecs(rows) * kLanes >= width;
}

// One pass of rows, all columns. width: whole vectors, pairs of them where V is read in pairs.
template <int kRows, bool kFetch, class V>
RAPTLY_INLINE void add_pass(const ValueRows<V>& values, std::int64_t width, float* o,
                            std::int64_t dv) {
  constexpr int kVecs = value_vecs(kRows);
  std::int64_t c = 0;
  const auto columns = [&](auto vecs) RAPTLY_LAMBDA {
    add_columns<kRows, vecs, kFetch>(values, c, o + c, dv);
    c += vecs * kLanes;
  };
  while (c + kVecs * kLanes <= width) columns(std::integral_constant<int, kVecs>());
  if constexpr (kVecs > 4) {
    if (c + 4 * kLanes <= width) columns(std::integral_constant<int, 4>());
  }
  while (c < width) columns(std::integral_constant<int, kLoadVecs<V>>());
}

template <class V>
void add_values(const DecodeRows& rows, const ValueRows<V>& values, std::int64_t width) {
  for (int i = 0; i < rows.n_passes; ++i) {
    const DecodePass pass = rows.passes[i];
    ValueRows<V> part = values;
    part.p += pass.first * kBlockKeys;
    float* o = rows.state.o + pass.first * rows.dv;
    with_pass_rows(pass.n, [&](auto n) RAPTLY_LAMBDA {
      if (i == 0 && !(values.in_order && takes_whole_rows(n, width))) {
        add_pass<n, true>(part, width, o, rows.dv);
      } else {
        add_pass<n, false>(part, width, o, rows.dv);
      }
    });
  }
}

template <class V>
bool hidden_value_is_non_finite(const ValueRows<V>& values, const SeenBits& seen,
                                std::int64_t width) {
  const Vi exponent_field = set_bits(0x7f800000u);
  for (int i = 0; i < values.n; ++i) {
    if (!seen.hides(i)) continue;
    const V* v = values.at + i * values.stride;
    for (std::int64_t c = 0; c < width; c += kLoadVecs<V> * kLanes) {
      Vf lanes[kLoadVecs<V>];
      load_values(v + c, lanes);
      for (const Vf& x : lanes) {
        if (any(equal(bit_and(bits_of(x), exponent_field), exponent_field))) return true;
      }
    }
  }
  return false;
}

// Key by key, only to the rows that see it: 0 * inf is NaN.
template <class V>
void add_visible_values(const DecodeRows& rows, const ValueRows<V>& values, const SeenBits& seen,
                        std::int64_t width) {
  for (int i = 0; i < values.n; ++i) {
    for (int row = 0; row < rows.n; ++row) {
      if (!seen.sees(row, i)) continue;
      float* o = rows.state.o + row * rows.dv;
      const Vf weight = set(values.p[row * kBlockKeys + i]);
      for (std::int64_t c = 0; c < width; c += kLoadVecs<V> * kLanes) {
        Vf lanes[kLoadVecs<V>];
        load_values(values.at + i * values.stride + c, lanes);
        for (int j = 0; j < kLoadVecs<V>; ++j) {
          float* to = o + c + j * kLanes;
          store(fma(weight, lanes[j], load(to)), to);
        }
      }
    }
  }
}

template <class T>
class DecodeValues {
 public:
  DecodeValues(const FlashForwardItem& item, const DecodeMemory& memory)
      : item_(item),
        cursor_(*item.kv, item.kv_head),
        rows_(memory.v_rows),
        width_(round_up(item.v_dim, kLanes)),
        ahead_keys_(ahead_keys(item.v_dim * static_cast<std::int64_t>(sizeof(T)))),
        in_place_(item.kv->v_dim_stride == 1 && item.v_dim % kLanes == 0),
        in_pairs_(std::is_same_v<T, Bf16> && in_place_ && item.v_dim % (2 * kLanes) == 0) {}

  // scores: p of keys [begin, end), [rows][kBlockKeys]. seen: of these keys.
  void add_block(const DecodeRows& rows, std::int64_t begin, std::int64_t end, const float* scores,
                 const SeenBits& seen) {
    if constexpr (std::is_same_v<T, Bf16>) {
      if (in_pairs_) return add_block_as<PairedBf16>(rows, begin, end, scores, seen);
    }
    add_block_as<T>(rows, begin, end, scores, seen);
  }

  // After the last block of the split.
  void finish(const DecodeRows& rows) {
    for (int row = 0; in_pairs_ && row < rows.n; ++row) {
      restore_order(rows.state.o + row * rows.dv, width_, rows_);
    }
  }

 private:
  template <class In>
  void add_block_as(const DecodeRows& rows, std::int64_t begin, std::int64_t end,
                    const float* scores, const SeenBits& seen) {
    for (std::int64_t key = begin; key < end;) {
      const KvSegment<T> part = cursor_.segment(key, std::min(end, key + kValueKeys));
      const int n = static_cast<int>(part.n);
      const float* p = scores + (key - begin);
      const SeenBits seen_here = seen.from(key - begin);
      if (in_place_ && part.v != nullptr) {
        const RowSource<T> source{part.v, item_.kv->v_token_stride};
        const Ahead ahead =
            find_ahead(cursor_, &KvSegment<T>::v, key, item_.kv->length, source, ahead_keys_);
        add(ValueRows<In>{reinterpret_cast<const In*>(source.at), source.stride, n, p, ahead,
                          source.stride == item_.v_dim},
            rows, seen_here);
      } else {
        widen(part, n);
        add(ValueRows<float>{rows_, round_up(item_.v_dim, 16), n, p}, rows, seen_here);
      }
      key += n;
    }
  }

  template <class V>
  void add(const ValueRows<V>& values, const DecodeRows& rows, const SeenBits& seen) {
    if (seen.given() && hidden_value_is_non_finite(values, seen, width_)) {
      add_visible_values(rows, values, seen, width_);
    } else {
      add_values(rows, values, width_);
    }
  }

  void widen(const KvSegment<T>& part, int n) {
    const std::int64_t stride = round_up(item_.v_dim, 16);
    std::memset(rows_, 0, static_cast<std::size_t>(n * stride) * sizeof(float));
    for (int i = 0; part.v != nullptr && i < n; ++i) {
      widen_row(part.v + i * item_.kv->v_token_stride, item_.kv->v_dim_stride, item_.v_dim,
                rows_ + i * stride);
    }
  }

  const FlashForwardItem& item_;
  KvCursor<T> cursor_;
  float* rows_;
  std::int64_t width_, ahead_keys_;
  bool in_place_;  // V can be read as it lies
  bool in_pairs_;  // and as PairedBf16
};

}  // namespace RAPTLY_TARGET
}  // namespace raptly
RAPTLY_AFTER_TARGET();
#endif
#endif
