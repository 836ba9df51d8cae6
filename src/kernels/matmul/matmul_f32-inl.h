// The f32 matmul: y[r, o] = one FMA chain over i ascending of x[r, i] * w[o, i], where w is the f32
// rounding of the dequantised weight. Float weights with few rows are read as they are packed;
// otherwise a chunk of a panel pair is dequantised to L1 first.
#if defined(RAPTLY_MATMUL_F32_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RAPTLY_MATMUL_F32_INL_H
#undef RAPTLY_MATMUL_F32_INL_H
#else
#define RAPTLY_MATMUL_F32_INL_H
#endif

#include "kernels/matmul/matmul_kernels.h"
#include "kernels/matmul/panel_reader-inl.h"
#if RAPTLY_TARGET_ENABLED
RAPTLY_BEFORE_TARGET();
namespace raptly {
namespace RAPTLY_TARGET {

constexpr int kF32Outputs = 2 * kLanes > 16 ? 32 : 16;  // of a tile: two vectors
constexpr int kF32Vectors = kF32Outputs / kLanes;
constexpr int kF32Rows = kRegisters == 32 ? 12 : 6;
constexpr int kF32Inputs = 128;  // dequantised at once: 16 KiB of a panel pair, in L1
constexpr int kF32ChunkRows = 192;

struct F32Chunk {
  float weights[kF32Inputs * kF32Outputs];
  float edge[kF32ChunkRows * kF32Outputs];  // y where a tile is wider than the matrix
};
static_assert(sizeof(F32Chunk) <= sizeof(MatmulScratch));

// Inputs [first, first + n) of a panel of float weights [n_in][16] to [n][kF32Outputs].
template <class T>
void widen_panel(const PanelMatrix& w, std::int64_t p, std::int64_t first, int n, float* out) {
  const T* from = reinterpret_cast<const T*>(w.data + p * w.panel_bytes) + first * 16;
  for (int i = 0; i < n; ++i, from += 16, out += kF32Outputs) {
    each<16 / kLanes>([&](auto v)
                          RAPTLY_LAMBDA { store(load(from + v * kLanes), out + v * kLanes); });
  }
}

// One rounding: code * scale is exact in f32 in every format, the minimum is added by an FMA.
template <class Format>
void dequantize_panel(const PanelMatrix& w, std::int64_t p, std::int64_t first, int n, float* out) {
  constexpr int kPairs = 16 / Format::kSteps;
  const std::byte* panel = w.data + p * w.panel_bytes;
  for (int i = 0; i < n; i += 32) {
    const std::int64_t b = (first + i) / 32;
    each<16 / kLanes>([&](auto v) RAPTLY_LAMBDA {
      constexpr int o = v * kLanes;
      const std::byte* planes = panel + Format::planes_offset(b) + o * 4;
      Vf scale[Format::kSteps], least = zero();
      each<Format::kSteps>([&](auto h)
                               RAPTLY_LAMBDA { scale[h] = block_scale<Format>(panel, b, h, o); });
      if constexpr (Format::kMin) least = block_min<Format>(panel, b, o);
      each<16>([&](auto t) RAPTLY_LAMBDA {
        const Vw pair = weight_pair<Format, t>(planes);
        const Vf d = scale[t / kPairs];
        float* to = out + (i + 2 * t) * kF32Outputs + o;
        if constexpr (Format::kMin) {
          store(fma(even_f(pair), d, least), to);
          store(fma(odd_f(pair), d, least), to + kF32Outputs);
        } else {
          store(mul(even_f(pair), d), to);
          store(mul(odd_f(pair), d), to + kF32Outputs);
        }
      });
    });
  }
}

// Rows in memory.
template <class T>
struct MatmulRows {
  T* at;
  std::int64_t stride;
};

template <int kRows>
void f32_tile(MatmulRows<const float> x, const float* w, int n, MatmulRows<float> y, bool first) {
  Vf f[kRows][kF32Vectors];
  each<kRows>([&](auto r) RAPTLY_LAMBDA {
    each<kF32Vectors>([&](auto v) RAPTLY_LAMBDA {
      f[r][v] = first ? zero() : load(y.at + r * y.stride + v * kLanes);
    });
  });
  for (int i = 0; i < n; ++i, ++x.at, w += kF32Outputs) {
    Vf wv[kF32Vectors];
    each<kF32Vectors>([&](auto v) RAPTLY_LAMBDA { wv[v] = load(w + v * kLanes); });
    each<kRows>([&](auto r) RAPTLY_LAMBDA {
      const Vf xv = set(x.at[r * x.stride]);
      each<kF32Vectors>([&](auto v) RAPTLY_LAMBDA { f[r][v] = fma(xv, wv[v], f[r][v]); });
    });
  }
  each<kRows>([&](auto r) RAPTLY_LAMBDA {
    each<kF32Vectors>([&](auto v)
                          RAPTLY_LAMBDA { store(f[r][v], y.at + r * y.stride + v * kLanes); });
  });
}

inline void f32_tile_rows(std::int64_t rows, MatmulRows<const float> x, const float* w, int n,
                          MatmulRows<float> y, bool first) {
  const auto step = [&]<int kRows>() RAPTLY_LAMBDA {
    f32_tile<kRows>(x, w, n, y, first);
    x.at += kRows * x.stride;
    y.at += kRows * y.stride;
    rows -= kRows;
  };
  while (rows >= kF32Rows) step.template operator()<kF32Rows>();
  while (rows >= 4) step.template operator()<4>();
  if (rows >= 2) step.template operator()<2>();
  if (rows >= 1) step.template operator()<1>();
}

// unpack(w, panel, first input, n, to [n][kF32Outputs])
template <class Unpack>
void f32_many_rows(const PanelMatrix& w, const float* x, std::int64_t x_stride,
                   const MatmulRange& range, F32Chunk& chunk, Unpack unpack) {
  for (std::int64_t r = 0; r < range.rows; r += kF32ChunkRows) {
    const std::int64_t rows = range.rows - r < kF32ChunkRows ? range.rows - r : kF32ChunkRows;
    for (std::int64_t p = range.panel_begin; p < range.panel_end; p += kF32Outputs / 16) {
      const std::int64_t panels =
          range.panel_end - p < kF32Outputs / 16 ? range.panel_end - p : kF32Outputs / 16;
      const std::int64_t left = w.n_out - p * 16;
      const std::int64_t valid = left < panels * 16 ? left : panels * 16;
      const bool whole = valid == kF32Outputs;
      float* to = range.y + r * range.y_stride + p * 16;
      float* y = whole ? to : chunk.edge;
      const std::int64_t stride = whole ? range.y_stride : kF32Outputs;
      for (std::int64_t i = 0; i < w.n_in; i += kF32Inputs) {
        const int n = w.n_in - i < kF32Inputs ? static_cast<int>(w.n_in - i) : kF32Inputs;
        for (int k = 0; k < panels; ++k) unpack(w, p + k, i, n, chunk.weights + k * 16);
        f32_tile_rows(rows, {x + r * x_stride + i, x_stride}, chunk.weights, n, {y, stride},
                      i == 0);
      }
      for (std::int64_t k = 0; !whole && k < rows; ++k) {
        for (std::int64_t o = 0; o < valid; ++o) to[k * range.y_stride + o] = y[k * stride + o];
      }
    }
  }
}

// Float weights, kRows rows, kPanels panels at once (a chain a vector hides no latency alone).
template <class T, int kRows, int kPanels>
void f32_few_rows(const PanelMatrix& w, const float* x, std::int64_t x_stride, std::int64_t p,
                  float* y, std::int64_t y_stride) {
  constexpr int kVectors = 16 / kLanes, kAll = kPanels * kVectors;
  const T* from[kPanels];
  Vf f[kRows][kAll];
  each<kPanels>([&](auto k) RAPTLY_LAMBDA {
    from[k] = reinterpret_cast<const T*>(w.data + (p + k) * w.panel_bytes);
  });
  each<kRows>([&](auto r)
                  RAPTLY_LAMBDA { each<kAll>([&](auto v) RAPTLY_LAMBDA { f[r][v] = zero(); }); });
  for (std::int64_t i = 0; i < w.n_in; ++i) {
    Vf wv[kAll];
    each<kAll>([&](auto v) RAPTLY_LAMBDA {
      wv[v] = load(from[v / kVectors] + i * 16 + v % kVectors * kLanes);
    });
    each<kPanels>([&](auto k) RAPTLY_LAMBDA {
      prefetch(reinterpret_cast<const std::byte*>(from[k] + i * 16) + 2048);
    });
    each<kRows>([&](auto r) RAPTLY_LAMBDA {
      const Vf xv = set(x[r * x_stride + i]);
      each<kAll>([&](auto v) RAPTLY_LAMBDA { f[r][v] = fma(xv, wv[v], f[r][v]); });
    });
  }
  const std::int64_t left = w.n_out - p * 16;
  const std::int64_t valid = left < kPanels * 16 ? left : kPanels * 16;
  each<kRows>([&](auto r) RAPTLY_LAMBDA {
    float all[kPanels * 16];
    each<kAll>([&](auto v) RAPTLY_LAMBDA { store(f[r][v], all + v * kLanes); });
    std::memcpy(y + r * y_stride + p * 16, all, static_cast<std::size_t>(valid) * sizeof(float));
  });
}

template <class T, int kRows>
void f32_few_panels(const PanelMatrix& w, const float* x, std::int64_t x_stride,
                    const MatmulRange& range) {
  constexpr int kAtOnce = kRegisters == 32 ? 4 : 2;
  std::int64_t p = range.panel_begin;
  for (; p + kAtOnce <= range.panel_end; p += kAtOnce) {
    f32_few_rows<T, kRows, kAtOnce>(w, x, x_stride, p, range.y, range.y_stride);
  }
  for (; p < range.panel_end; ++p) {
    f32_few_rows<T, kRows, 1>(w, x, x_stride, p, range.y, range.y_stride);
  }
}

template <class T>
void f32_float_type(const PanelMatrix& w, const float* x, std::int64_t x_stride,
                    const MatmulRange& range, F32Chunk& chunk) {
  switch (range.rows) {
    case 1:
      return f32_few_panels<T, 1>(w, x, x_stride, range);
    case 2:
      return f32_few_panels<T, 2>(w, x, x_stride, range);
    case 3:
      return f32_few_panels<T, 3>(w, x, x_stride, range);
    case 4:
      return f32_few_panels<T, 4>(w, x, x_stride, range);
    default:
      return f32_many_rows(w, x, x_stride, range, chunk, &widen_panel<T>);
  }
}

void f32_panels(const PanelMatrix& w, const float* x, std::int64_t x_stride,
                const MatmulRange& range, MatmulScratch& scratch) {
  F32Chunk& chunk = reinterpret_cast<F32Chunk&>(scratch);
  switch (w.type) {
    case WeightType::kF32:
      return f32_float_type<float>(w, x, x_stride, range, chunk);
    case WeightType::kF16:
      return f32_float_type<F16>(w, x, x_stride, range, chunk);
    case WeightType::kBf16:
      return f32_float_type<Bf16>(w, x, x_stride, range, chunk);
#define RAPTLY_CASE(type)                              \
  case WeightType::type:                               \
    return f32_many_rows(w, x, x_stride, range, chunk, \
                         &dequantize_panel<PanelFormat<WeightType::type>>)
      RAPTLY_CASE(kQ4_0);
      RAPTLY_CASE(kQ4_1);
      RAPTLY_CASE(kQ5_0);
      RAPTLY_CASE(kQ5_1);
      RAPTLY_CASE(kQ8_0);
      RAPTLY_CASE(kQ4K);
      RAPTLY_CASE(kQ5K);
      RAPTLY_CASE(kQ6K);
#undef RAPTLY_CASE
  }
}

}  // namespace RAPTLY_TARGET
}  // namespace raptly
RAPTLY_AFTER_TARGET();
#endif
#endif
