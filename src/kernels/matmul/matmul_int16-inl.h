// The quantised matmul: int16 activations, exact block dots, one f32 chain over blocks ascending:
//   f = fma(float(dot) * scale_x, scale_w, f); with a minimum also f = fma(scaled_sum_x, min_w, f).
// Two walks share the chain: few rows read packed planes; more rows unpack a panel pair to L1
// first.
#if defined(RAPTLY_MATMUL_INT16_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RAPTLY_MATMUL_INT16_INL_H
#undef RAPTLY_MATMUL_INT16_INL_H
#else
#define RAPTLY_MATMUL_INT16_INL_H
#endif

#undef RAPTLY_DOT_UNIT
#if defined(RAPTLY_VNNI_BUILD)
#define RAPTLY_DOT_UNIT with_vnni
#else
#define RAPTLY_DOT_UNIT with_madd
#endif

#include "kernels/matmul/matmul_kernels.h"
#include "kernels/matmul/panel_reader-inl.h"
#if RAPTLY_TARGET_ENABLED
RAPTLY_BEFORE_TARGET();
namespace raptly {
namespace RAPTLY_TARGET {
inline namespace RAPTLY_DOT_UNIT {

constexpr int kPanelVectors = 16 / kLanes;
constexpr int kTileRows =
    kRegisters == 32 ? 6 : 3;  // times two vectors: chains, dots and weights fit
// Up to kFewRows rows are multiplied straight from the packed planes, kFewAtOnce at a time: 193
// GOP/s for 16 rows where unpacking first gives 171 (AVX-512 VNNI; AVX2 143, 140).
constexpr int kFewAtOnce = kRegisters == 32 ? 8 : 6;
constexpr int kFewRows = kRegisters == 32 ? 32 : 12;
constexpr int kTilePanels = 2 * kLanes > 16 ? 2 : 1;
constexpr int kTileOutputs = 16 * kTilePanels;
constexpr int kTileVectors = kTileOutputs / kLanes;
constexpr int kChunkBlocks = 9;       // blocks unpacked at once: with scales 23 KiB, in L1
constexpr int kChunkRows = 192;       // rows that share an unpacked chunk: x and y stay in L2
constexpr int kPrefetchAhead = 4096;  // bytes; without it decoding loses a third

// Unpacked blocks: int16 pairs [block][16][kTileOutputs], scales [block][kSteps,
// kMin][kTileOutputs].
struct Chunk {
  std::int16_t weights[kChunkBlocks * 32 * kTileOutputs];
  float scales[kChunkBlocks * 3 * kTileOutputs];
  float edge[kChunkRows * kTileOutputs];  // y where a tile is wider than the matrix
};
static_assert(sizeof(Chunk) <= sizeof(MatmulScratch));

// The first `valid` of the vectors' lanes.
template <int kVectors>
RAPTLY_INLINE void store_outputs(const Vf (&f)[kVectors], float* y, std::int64_t valid) {
  if (valid >= kVectors * kLanes) {
    each<kVectors>([&](auto v) RAPTLY_LAMBDA { store(f[v], y + v * kLanes); });
    return;
  }
  float all[kVectors * kLanes];
  each<kVectors>([&](auto v) RAPTLY_LAMBDA { store(f[v], all + v * kLanes); });
  for (std::int64_t o = 0; o < valid; ++o) y[o] = all[o];
}

// Chains of a block's dot. vpdpwssd takes 4-5 cycles, so few rows have two; multiply and add have
// only the add in the chain. Integers: the split is free.
#if defined(RAPTLY_VNNI_BUILD)
template <int kRows>
constexpr int kChains = kRows <= 4 ? 2 : 1;
#else
template <int kRows>
constexpr int kChains = 1;
#endif

// Step h of a block for kRows rows and one vector of outputs, straight from the packed planes.
template <class Format, int h, int kRows>
RAPTLY_INLINE void few_step(const std::byte* planes, const ActivationBlock* x,
                            std::int64_t row_blocks, Vf scale, Vf (&f)[kRows]) {
  constexpr int kPairs = 16 / Format::kSteps;
  Vi sum[kRows][kChains<kRows>];
  each<kRows * kChains<kRows>>(
      [&](auto i) RAPTLY_LAMBDA { sum[i / kChains<kRows>][i % kChains<kRows>] = zero_i(); });
  each<kPairs>([&](auto i) RAPTLY_LAMBDA {
    constexpr int c = i % kChains<kRows>;
    const Vw w = weight_pair<Format, h * kPairs + i>(planes);
    each<kRows>([&](auto r) RAPTLY_LAMBDA {
      const std::int16_t* q = x[r * row_blocks].q + (h * kPairs + i) * 2;
      sum[r][c] = dot2(sum[r][c], w, set_pair(q));
    });
  });
  each<kRows>([&](auto r) RAPTLY_LAMBDA {
    Vi whole = sum[r][0];
    if constexpr (kChains<kRows> == 2) whole = add_i(whole, sum[r][1]);
    f[r] = fma(mul(to_f(whole), set(x[r * row_blocks].scale)), scale, f[r]);
  });
}

struct OutputRows {
  float* at;
  std::int64_t stride;
};

// kVectors vectors of outputs from output `o` of a panel, kRows rows; y points at output `o`.
template <class Format, int kRows, int kVectors>
RAPTLY_INLINE void few_outputs(const std::byte* panel, int o, const ActivationBlock* x,
                               std::int64_t blocks, const OutputRows& y, std::int64_t valid) {
  Vf f[kVectors][kRows];
  each<kVectors * kRows>([&](auto i) RAPTLY_LAMBDA { f[i / kRows][i % kRows] = zero(); });
  for (std::int64_t b = 0; b < blocks; ++b, ++x) {
    const std::byte* planes = panel + Format::planes_offset(b);
    each<Format::kPayloadBytes / 64 + 1>(
        [&](auto i) RAPTLY_LAMBDA { prefetch(planes + kPrefetchAhead + (i - 1) * 64); });
    each<kVectors>([&](auto v) RAPTLY_LAMBDA {
      const int at = o + v * kLanes;
      each<Format::kSteps>([&](auto h) RAPTLY_LAMBDA {
        few_step<Format, h>(planes + at * 4, x, blocks, block_scale<Format>(panel, b, h, at), f[v]);
      });
      if constexpr (Format::kMin) {
        const Vf m = block_min<Format>(panel, b, at);
        each<kRows>([&](auto r) RAPTLY_LAMBDA {
          f[v][r] = fma(set(x[r * blocks].scaled_sum), m, f[v][r]);
        });
      }
    });
  }
  each<kRows>([&](auto r) RAPTLY_LAMBDA {
    Vf row[kVectors];
    each<kVectors>([&](auto v) RAPTLY_LAMBDA { row[v] = f[v][r]; });
    store_outputs(row, y.at + r * y.stride, valid);
  });
}

template <class Format, int kRows>
void few_rows(const PanelMatrix& w, const ActivationBlock* x, const MatmulRange& range, float* y) {
  // Sixteen registers hold the chains of two rows and more for one vector only: the panel, in L1,
  // is read twice.
  constexpr int kAtOnce = kRegisters == 16 && kRows >= 2 ? 1 : kPanelVectors;
  for (std::int64_t p = range.panel_begin; p < range.panel_end; ++p) {
    const std::byte* panel = w.data + p * w.panel_bytes;
    for (int o = 0; o < 16; o += kAtOnce * kLanes) {
      few_outputs<Format, kRows, kAtOnce>(panel, o, x, w.n_in / 32,
                                          {y + p * 16 + o, range.y_stride}, w.n_out - p * 16 - o);
    }
  }
}

template <class Format>
void unpack_panel(const PanelMatrix& w, std::int64_t p, std::int64_t first, int n, int at,
                  Chunk& chunk) {
  const std::byte* panel = w.data + p * w.panel_bytes;
  for (int b = 0; b < n; ++b) {
    const std::byte* planes = panel + Format::planes_offset(first + b);
    each<kPanelVectors>([&](auto v) RAPTLY_LAMBDA {
      constexpr int o = v * kLanes;
      std::int16_t* weights = chunk.weights + b * 32 * kTileOutputs + (at + o) * 2;
      each<16>([&](auto t) RAPTLY_LAMBDA {
        store_w(weight_pair<Format, t>(planes + o * 4), weights + t * 2 * kTileOutputs);
      });
      float* scales = chunk.scales + b * 3 * kTileOutputs + at + o;
      each<Format::kSteps>([&](auto h) RAPTLY_LAMBDA {
        store(block_scale<Format>(panel, first + b, h, o), scales + h * kTileOutputs);
      });
      if constexpr (Format::kMin) {
        store(block_min<Format>(panel, first + b, o), scales + kTileOutputs);
      }
    });
  }
}

// Rows of x over n unpacked blocks of a chunk.
struct ChunkRows {
  const ActivationBlock* x;
  std::int64_t row_blocks;  // from a row to the next
  int n;
  bool first;  // of the row: y holds nothing yet
};

// kRows rows x kTileOutputs outputs; y holds the chains between chunks.
template <int kSteps, bool kMin, int kRows>
void tile(const ChunkRows& rows, const Chunk& chunk, const OutputRows& y) {
  const ActivationBlock* x = rows.x;
  const std::int64_t row_blocks = rows.row_blocks;
  constexpr int kPairs = 16 / kSteps;
  Vf f[kRows][kTileVectors];
  each<kRows>([&](auto r) RAPTLY_LAMBDA {
    each<kTileVectors>([&](auto v) RAPTLY_LAMBDA {
      f[r][v] = rows.first ? zero() : load(y.at + r * y.stride + v * kLanes);
    });
  });
  const std::int16_t* w = chunk.weights;
  const float* scales = chunk.scales;
  for (int b = 0; b < rows.n; ++b, ++x, w += 32 * kTileOutputs, scales += 3 * kTileOutputs) {
    each<kSteps>([&](auto h) RAPTLY_LAMBDA {
      Vi sum[kRows][kTileVectors];
      each<kRows * kTileVectors>(
          [&](auto i) RAPTLY_LAMBDA { sum[i / kTileVectors][i % kTileVectors] = zero_i(); });
      each<kPairs>([&](auto j) RAPTLY_LAMBDA {
        Vw wv[kTileVectors];
        each<kTileVectors>([&](auto v) RAPTLY_LAMBDA {
          wv[v] = load_w(w + ((h * kPairs + j) * kTileOutputs + v * kLanes) * 2);
        });
        each<kRows>([&](auto r) RAPTLY_LAMBDA {
          const Vw pair = set_pair(x[r * row_blocks].q + (h * kPairs + j) * 2);
          each<kTileVectors>([&](auto v)
                                 RAPTLY_LAMBDA { sum[r][v] = dot2(sum[r][v], wv[v], pair); });
        });
      });
      each<kRows>([&](auto r) RAPTLY_LAMBDA {
        const Vf scale_x = set(x[r * row_blocks].scale);
        each<kTileVectors>([&](auto v) RAPTLY_LAMBDA {
          f[r][v] = fma(mul(to_f(sum[r][v]), scale_x), load(scales + h * kTileOutputs + v * kLanes),
                        f[r][v]);
          if constexpr (kMin) {
            f[r][v] = fma(set(x[r * row_blocks].scaled_sum),
                          load(scales + kTileOutputs + v * kLanes), f[r][v]);
          }
        });
      });
    });
  }
  each<kRows>([&](auto r) RAPTLY_LAMBDA {
    each<kTileVectors>([&](auto v)
                           RAPTLY_LAMBDA { store(f[r][v], y.at + r * y.stride + v * kLanes); });
  });
}

// All rows of one chunk, kTileRows at a time.
template <int kSteps, bool kMin>
void tile_rows(std::int64_t rows, ChunkRows x, const Chunk& chunk, OutputRows y) {
  const auto step = [&]<int kRows>() RAPTLY_LAMBDA {
    tile<kSteps, kMin, kRows>(x, chunk, y);
    x.x += kRows * x.row_blocks;
    y.at += kRows * y.stride;
    rows -= kRows;
  };
  while (rows >= kTileRows) step.template operator()<kTileRows>();
  if constexpr (kTileRows > 4) {
    if (rows >= 4) step.template operator()<4>();
  }
  if (rows == 3) step.template operator()<3>();
  if (rows == 2) step.template operator()<2>();
  if (rows == 1) step.template operator()<1>();
}

template <class Format>
void many_rows(const PanelMatrix& w, const ActivationBlock* x, const MatmulRange& range,
               Chunk& chunk) {
  const std::int64_t blocks = w.n_in / 32;
  for (std::int64_t r = 0; r < range.rows; r += kChunkRows) {
    const std::int64_t rows = range.rows - r < kChunkRows ? range.rows - r : kChunkRows;
    for (std::int64_t p = range.panel_begin; p < range.panel_end; p += kTilePanels) {
      const int panels =
          range.panel_end - p < kTilePanels ? static_cast<int>(range.panel_end - p) : kTilePanels;
      const std::int64_t left = w.n_out - p * 16;
      const std::int64_t valid = left < panels * 16 ? left : panels * 16;
      const bool whole = valid == kTileOutputs;
      float* to = range.y + r * range.y_stride + p * 16;
      float* y = whole ? to : chunk.edge;
      const std::int64_t stride = whole ? range.y_stride : kTileOutputs;
      for (std::int64_t b = 0; b < blocks; b += kChunkBlocks) {
        const int n = blocks - b < kChunkBlocks ? static_cast<int>(blocks - b) : kChunkBlocks;
        for (int i = 0; i < panels; ++i) unpack_panel<Format>(w, p + i, b, n, i * 16, chunk);
        tile_rows<Format::kSteps, Format::kMin>(rows, {x + r * blocks + b, blocks, n, b == 0},
                                                chunk, {y, stride});
      }
      for (std::int64_t i = 0; !whole && i < rows; ++i) {
        for (std::int64_t o = 0; o < valid; ++o) to[i * range.y_stride + o] = y[i * stride + o];
      }
    }
  }
}

template <class Format>
void int16_format(const PanelMatrix& w, const ActivationBlock* x, const MatmulRange& range,
                  MatmulScratch& scratch) {
  const std::int64_t row_blocks = w.n_in / 32;
  std::int64_t r = 0, left = range.rows;
  if (left > kFewRows) return many_rows<Format>(w, x, range, reinterpret_cast<Chunk&>(scratch));
  const auto take = [&]<int kRows>() RAPTLY_LAMBDA {
    few_rows<Format, kRows>(w, x + r * row_blocks, range, range.y + r * range.y_stride);
    r += kRows;
    left -= kRows;
  };
  while (left > 0) {  // the largest count that does not leave a single row
    if (left >= kFewAtOnce && left != kFewAtOnce + 1) {
      take.template operator()<kFewAtOnce>();
    } else if (left >= 6 && left != 7) {
      take.template operator()<6>();
    } else if (left >= 4 && left != 5) {
      take.template operator()<4>();
    } else if (left >= 3) {
      take.template operator()<3>();
    } else if (left == 2) {
      take.template operator()<2>();
    } else {
      take.template operator()<1>();
    }
  }
}

inline void int16_types(const PanelMatrix& w, const ActivationBlock* x, const MatmulRange& range,
                        MatmulScratch& scratch) {
  switch (w.type) {
#define RAPTLY_CASE(type) \
  case WeightType::type:  \
    return int16_format<PanelFormat<WeightType::type>>(w, x, range, scratch)
    RAPTLY_CASE(kQ4_0);
    RAPTLY_CASE(kQ4_1);
    RAPTLY_CASE(kQ5_0);
    RAPTLY_CASE(kQ5_1);
    RAPTLY_CASE(kQ8_0);
    RAPTLY_CASE(kQ4K);
    RAPTLY_CASE(kQ5K);
    RAPTLY_CASE(kQ6K);
#undef RAPTLY_CASE
    case WeightType::kF32:
    case WeightType::kF16:
    case WeightType::kBf16:
      return;
  }
}

}  // namespace RAPTLY_DOT_UNIT

#if !defined(RAPTLY_VNNI_BUILD)
void int16_panels(const PanelMatrix& w, const ActivationBlock* x, const MatmulRange& range,
                  MatmulScratch& scratch) {
  int16_types(w, x, range, scratch);
}
#endif
}  // namespace RAPTLY_TARGET
}  // namespace raptly
RAPTLY_AFTER_TARGET();
#endif
#endif
