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

constexpr int kVectors = 16 / kLanes;                // of a panel
constexpr int kTileRows = kRegisters == 32 ? 8 : 4;  // rows x 2 vectors in registers
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

RAPTLY_INLINE void store_panel(const Vf (&f)[kVectors], float* y, std::int64_t n) {
  if (n >= 16) {
    each<kVectors>([&](auto v) RAPTLY_LAMBDA { store(f[v], y + v * kLanes); });
    return;
  }
  float all[16];
  each<kVectors>([&](auto v) RAPTLY_LAMBDA { store(f[v], all + v * kLanes); });
  for (std::int64_t o = 0; o < n; ++o) y[o] = all[o];
}

// Step h of a block for kRows rows and one vector of outputs, straight from the packed planes.
template <class Format, int h, int kRows>
RAPTLY_INLINE void few_step(const std::byte* planes, const ActivationBlock* x,
                            std::int64_t row_blocks, Vf scale, Vf (&f)[kRows]) {
  constexpr int kPairs = 16 / Format::kSteps;
  Vi sum[kRows][2];  // two chains hide the latency; integers, so the split is free
  each<kRows>([&](auto r) RAPTLY_LAMBDA { sum[r][0] = sum[r][1] = zero_i(); });
  each<kPairs>([&](auto i) RAPTLY_LAMBDA {
    const Vw w = weight_pair<Format, h * kPairs + i>(planes);
    each<kRows>([&](auto r) RAPTLY_LAMBDA {
      const std::int16_t* q = x[r * row_blocks].q + (h * kPairs + i) * 2;
      sum[r][i % 2] = dot2(sum[r][i % 2], w, set_pair(q));
    });
  });
  each<kRows>([&](auto r) RAPTLY_LAMBDA {
    const Vf dot = to_f(add_i(sum[r][0], sum[r][1]));
    f[r] = fma(mul(dot, set(x[r * row_blocks].scale)), scale, f[r]);
  });
}

template <class Format, int kRows>
void few_rows(const PanelMatrix& w, const ActivationBlock* x, const MatmulRange& range, float* y) {
  const std::int64_t blocks = w.n_in / 32;
  for (std::int64_t p = range.panel_begin; p < range.panel_end; ++p) {
    const std::byte* panel = w.data + p * w.panel_bytes;
    const std::byte* planes = panel;
    const ActivationBlock* xb = x;
    Vf f[kVectors][kRows];
    each<kVectors * kRows>([&](auto i) RAPTLY_LAMBDA { f[i / kRows][i % kRows] = zero(); });
    for (std::int64_t b = 0; b < blocks; ++b, ++xb, planes += Format::kPayloadBytes) {
      for (int i = 0; i < Format::kBlockBytes; i += 64) prefetch(planes + kPrefetchAhead + i);
      each<kVectors>([&](auto v) RAPTLY_LAMBDA {
        constexpr int o = v * kLanes;
        each<Format::kSteps>([&](auto h) RAPTLY_LAMBDA {
          few_step<Format, h>(planes + o * 4, xb, blocks,
                              block_scale<Format>(panel, blocks, b, h, o), f[v]);
        });
        if constexpr (Format::kMin) {
          const Vf m = block_min<Format>(panel, blocks, b, o);
          each<kRows>([&](auto r) RAPTLY_LAMBDA {
            f[v][r] = fma(set(xb[r * blocks].scaled_sum), m, f[v][r]);
          });
        }
      });
    }
    each<kRows>([&](auto r) RAPTLY_LAMBDA {
      Vf row[kVectors];
      each<kVectors>([&](auto v) RAPTLY_LAMBDA { row[v] = f[v][r]; });
      store_panel(row, y + r * range.y_stride + p * 16, w.n_out - p * 16);
    });
  }
}

template <class Format>
void unpack_panel(const PanelMatrix& w, std::int64_t p, std::int64_t first, int n, int at,
                  Chunk& chunk) {
  const std::int64_t blocks = w.n_in / 32;
  const std::byte* panel = w.data + p * w.panel_bytes;
  for (int b = 0; b < n; ++b) {
    const std::byte* planes = panel + (first + b) * Format::kPayloadBytes;
    each<kVectors>([&](auto v) RAPTLY_LAMBDA {
      constexpr int o = v * kLanes;
      std::int16_t* weights = chunk.weights + b * 32 * kTileOutputs + (at + o) * 2;
      each<16>([&](auto t) RAPTLY_LAMBDA {
        store_w(weight_pair<Format, t>(planes + o * 4), weights + t * 2 * kTileOutputs);
      });
      float* scales = chunk.scales + b * 3 * kTileOutputs + at + o;
      each<Format::kSteps>([&](auto h) RAPTLY_LAMBDA {
        store(block_scale<Format>(panel, blocks, first + b, h, o), scales + h * kTileOutputs);
      });
      if constexpr (Format::kMin) {
        store(block_min<Format>(panel, blocks, first + b, o), scales + kTileOutputs);
      }
    });
  }
}

// kRows rows x kTileOutputs outputs over n unpacked blocks; y holds the chains between chunks.
template <int kSteps, bool kMin, int kRows>
void tile(const ActivationBlock* x, std::int64_t row_blocks, const Chunk& chunk, int n, float* y,
          std::int64_t y_stride, bool first) {
  constexpr int kPairs = 16 / kSteps;
  Vf f[kRows][kTileVectors];
  each<kRows>([&](auto r) RAPTLY_LAMBDA {
    each<kTileVectors>([&](auto v) RAPTLY_LAMBDA {
      f[r][v] = first ? zero() : load(y + r * y_stride + v * kLanes);
    });
  });
  const std::int16_t* w = chunk.weights;
  const float* scales = chunk.scales;
  for (int b = 0; b < n; ++b, ++x, w += 32 * kTileOutputs, scales += 3 * kTileOutputs) {
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
                           RAPTLY_LAMBDA { store(f[r][v], y + r * y_stride + v * kLanes); });
  });
}

// All rows of one chunk, kTileRows at a time.
template <int kSteps, bool kMin>
void tile_rows(const ActivationBlock* x, std::int64_t row_blocks, std::int64_t rows,
               const Chunk& chunk, int n, float* y, std::int64_t y_stride, bool first) {
  const auto step = [&]<int kRows>() RAPTLY_LAMBDA {
    tile<kSteps, kMin, kRows>(x, row_blocks, chunk, n, y, y_stride, first);
    x += kRows * row_blocks;
    y += kRows * y_stride;
    rows -= kRows;
  };
  while (rows >= kTileRows) step.template operator()<kTileRows>();
  while (rows >= 4) step.template operator()<4>();
  if (rows >= 2) step.template operator()<2>();
  if (rows >= 1) step.template operator()<1>();
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
        tile_rows<Format::kSteps, Format::kMin>(x + r * blocks + b, blocks, rows, chunk, n, y,
                                                stride, b == 0);
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
  switch (range.rows) {
    case 1:
      return few_rows<Format, 1>(w, x, range, range.y);
    case 2:
      return few_rows<Format, 2>(w, x, range, range.y);
    case 3:
      return few_rows<Format, 3>(w, x, range, range.y);
    case 4:
      return few_rows<Format, 4>(w, x, range, range.y);
    default:
      return many_rows<Format>(w, x, range, reinterpret_cast<Chunk&>(scratch));
  }
}

inline void int16_panels(const PanelMatrix& w, const ActivationBlock* x, const MatmulRange& range,
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
}  // namespace RAPTLY_TARGET
}  // namespace raptly
RAPTLY_AFTER_TARGET();
#endif
#endif
