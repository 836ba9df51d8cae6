// Memory of a thread, and the rows of a chunk as the products need them: transposed, one query a
// lane, and as rows.
#if defined(RAPTLY_BACKWARD_PANEL_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RAPTLY_BACKWARD_PANEL_INL_H
#undef RAPTLY_BACKWARD_PANEL_INL_H
#else
#define RAPTLY_BACKWARD_PANEL_INL_H
#endif

#include "kernels/flash_backward/flash_backward.h"
#include "kernels/flash_forward/panel_bias-inl.h"
#include "kernels/flash_forward/stage-inl.h"
#if RAPTLY_TARGET_ENABLED
RAPTLY_BEFORE_TARGET();
namespace raptly {
namespace RAPTLY_TARGET {

static_assert(kStripLanes % kPanelLanes == 0);
constexpr int kChunkLanes = kChunkStrips * kStripLanes;
constexpr int kPanelsOfStrip = kStripLanes / kPanelLanes;
constexpr int kChunkPanels = kChunkStrips * kPanelsOfStrip;
constexpr std::int64_t kRangeBlocks = kMaxRangeKeys / kBlockKeys;
// Row of P and dS: 16 more than the lanes, or all rows would share the sets of L1.
constexpr std::int64_t kChunkRow = kChunkLanes + 16;

struct BackwardPanel {
  QueryPanel rows;
  int lane;        // of the chunk
  float* dout;     // [v_dim][vecs * kLanes], times factor
  const float* m;  // of StripTerms
  const float* delta;
  bool extreme;  // scores may lie beyond kScoreLimit
};

// The keys of one block that a strip sees: rows of the range.
struct StripPiece {
  std::int64_t begin, end;  // equal: none
  const std::uint64_t* bits;
  const TileSpan* span;  // the first of n_spans that lie in the block
  int n_spans;
  bool hides;  // from some row some key
};

struct ChunkState {
  KeyRangeOfItem range;
  std::int64_t n_panels;
  bool any_bad_key;
  int panel_begin[kChunkStrips + 1];
  bool bad_rows[kChunkStrips];  // some query or dout row is not finite
  StripPiece pieces[kChunkStrips][kRangeBlocks];
  // Of pieces that are listed more than once: who sees the keys at all.
  std::uint64_t words[kChunkStrips][kRangeBlocks][kBlockKeys];
};

struct BackwardMemory {
  ChunkState* state;
  BackwardPanel* panels;              // [kChunkPanels]
  std::int64_t k_stride, v_stride;    // of all rows below
  float *k, *v, *dk, *dv;             // [kMaxRangeKeys]
  std::uint8_t* bad_keys;             // [kMaxRangeKeys]
  float *q_rows, *dout_rows;          // [kChunkLanes]
  float *q, *dout;                    // of the panels
  float *scores, *dweights, *slopes;  // [kBlockKeys][kPanelLanes]
  float* p;                           // [kBlockKeys][kChunkRow]
  float* ds;                          // [kMaxRangeKeys][kChunkRow]
  float* bias_ds;                     // [kBlockKeys][kChunkRow]: before the slope of the softcap
  float* bias_rows;
  float* rows;  // [kStripLanes] of the wider stride
};

inline BackwardMemory cut_backward_memory(int head_dim, int v_dim, WorkspaceCutter& cutter) {
  BackwardMemory m;
  m.k_stride = stage_stride(head_dim);
  m.v_stride = stage_stride(v_dim);
  m.state = cutter.take<ChunkState>(1);
  m.panels = cutter.take<BackwardPanel>(kChunkPanels);
  m.k = cutter.take<float>(kMaxRangeKeys * m.k_stride);
  m.v = cutter.take<float>(kMaxRangeKeys * m.v_stride);
  m.dk = cutter.take<float>(kMaxRangeKeys * m.k_stride);
  m.dv = cutter.take<float>(kMaxRangeKeys * m.v_stride);
  m.bad_keys = cutter.take<std::uint8_t>(kMaxRangeKeys);
  m.q_rows = cutter.take<float>(kChunkLanes * m.k_stride);
  m.dout_rows = cutter.take<float>(kChunkLanes * m.v_stride);
  m.q = cutter.take<float>(kChunkLanes * m.k_stride);
  m.dout = cutter.take<float>(kChunkLanes * m.v_stride);
  m.scores = cutter.take<float>(kBlockKeys * kPanelLanes);
  m.dweights = cutter.take<float>(kBlockKeys * kPanelLanes);
  m.slopes = cutter.take<float>(kBlockKeys * kPanelLanes);
  m.p = cutter.take<float>(kBlockKeys * kChunkRow);
  m.ds = cutter.take<float>(kMaxRangeKeys * kChunkRow);
  m.bias_ds = cutter.take<float>(kBlockKeys * kChunkRow);
  m.bias_rows = cutter.take<float>(kBiasRowFloats);
  m.rows = cutter.take<float>(kStripLanes * std::max(m.k_stride, m.v_stride));
  return m;
}

inline BackwardMemory backward_memory(const FlashBackwardItem& item, std::byte* workspace) {
  WorkspaceCutter cutter(workspace);
  return cut_backward_memory(item.forward.head_dim, item.forward.v_dim, cutter);
}

inline InputRows query_rows(const FlashForwardItem& f) {
  return {f.q, f.q_dtype, f.q_token_stride, f.q_head_stride, f.q_dim_stride};
}
inline InputRows output_rows(const FlashForwardItem& f) {
  return {f.out, f.out_dtype, f.out_token_stride, f.out_head_stride, f.out_dim_stride};
}

// A row, widened; not past n.
inline void read_row(const InputRows& rows, const RowOfItem& row, std::int64_t n, float* out) {
  const std::int64_t at = row.query * rows.token_stride + row.head * rows.head_stride;
  switch (rows.dtype) {
    case DType::kF16:
      return widen_row(static_cast<const F16*>(rows.at) + at, rows.dim_stride, n, out);
    case DType::kBf16:
      return widen_row(static_cast<const Bf16*>(rows.at) + at, rows.dim_stride, n, out);
    default:
      return widen_row(static_cast<const float*>(rows.at) + at, rows.dim_stride, n, out);
  }
}

template <class T>
void write_gradient(const float* x, float factor, std::int64_t n, T* row, std::int64_t stride,
                    float* scratch) {
  if (scratch == nullptr) return write_row(x, factor, n, row, stride);
  widen_row(row, stride, n, scratch);
  const Vf by = set(factor);
  for (std::int64_t c = 0; c < n; c += kLanes) {
    store(fma(load(x + c), by, load(scratch + c)), scratch + c);
  }
  write_row(scratch, 1.0f, n, row, stride);
}

// x [n rounded up to kLanes] times factor into a row, or added to it; scratch: as long as x.
inline void write_gradient_row(const GradientRows& rows, const RowOfItem& row, const float* x,
                               float factor, std::int64_t n, bool accumulate, float* scratch) {
  const std::int64_t at = row.query * rows.token_stride + row.head * rows.head_stride;
  float* add_in = accumulate ? scratch : nullptr;
  switch (rows.dtype) {
    case DType::kF16:
      return write_gradient(x, factor, n, static_cast<F16*>(rows.at) + at, rows.dim_stride, add_in);
    case DType::kBf16:
      return write_gradient(x, factor, n, static_cast<Bf16*>(rows.at) + at, rows.dim_stride,
                            add_in);
    default:
      return write_gradient(x, factor, n, static_cast<float*>(rows.at) + at, rows.dim_stride,
                            add_in);
  }
}

// Sum of a b over n, in 16 partial sums by index, on every level; b is padded with zeros.
inline float dot_rows(const float* a, const float* b, std::int64_t n) {
  constexpr int kVecs = 16 / kLanes;
  Vf sum[kVecs];
  each<kVecs>([&](auto j) RAPTLY_LAMBDA { sum[j] = zero(); });
  for (std::int64_t c = 0; c < n; c += 16) {
    each<kVecs>([&](auto j) RAPTLY_LAMBDA {
      sum[j] = fma(load(a + c + j * kLanes), load(b + c + j * kLanes), sum[j]);
    });
  }
  float part[16];
  each<kVecs>([&](auto j) RAPTLY_LAMBDA { store(sum[j], part + j * kLanes); });
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) part[i] += part[i + half];
  }
  return part[0];
}

inline double dlse_of_row(const FlashBackwardItem& item, const RowOfItem& row) {
  const InputRows& rows = item.dlse;
  if (rows.at == nullptr) return 0;
  return static_cast<double>(static_cast<const float*>(
      rows.at)[row.query * rows.token_stride + row.head * rows.head_stride]);
}

inline void find_terms(const FlashBackwardItem& item, const QueryStrip& strip,
                       const BackwardMemory& memory, StripTerms& terms) {
  constexpr double kLog2EDouble = 1.4426950408889634;
  const FlashForwardItem& f = item.forward;
  const std::int64_t width = round_up(f.v_dim, 16);
  float *out = memory.rows, *dout = memory.rows + width;
  std::memset(out, 0, static_cast<std::size_t>(2 * width) * sizeof(float));
  for (int lane = 0; lane < kStripLanes; ++lane) {
    terms.m[lane] = terms.factor[lane] = terms.delta[lane] = 0;
    if (lane >= strip.lanes) continue;
    const RowOfItem row = row_of_lane(f, *strip.tile, strip.first_lane + lane);
    const float lse = f.lse[row.head * f.lse_head_stride + row.query * f.lse_token_stride];
    if (lse == kMinusInfinity) continue;
    read_row(output_rows(f), row, f.v_dim, out);
    read_row(item.dout, row, f.v_dim, dout);
    // A row with a sink that sees no key has it as lse, and out 0.
    const bool sees = f.sinks == nullptr || lse != f.sinks[row.head] ||
                      std::any_of(out, out + f.v_dim, [](float x) { return x != 0; });
    const double lse2 = static_cast<double>(lse) * kLog2EDouble;
    const auto limit = static_cast<double>(kScoreLimit);
    double m = 2 * std::nearbyint(lse2 / 2);
    if (m > limit) m = limit;
    if (m < -limit) m = -limit;
    const auto factor = static_cast<float>(std::exp2(m - lse2));
    const double product = sees ? static_cast<double>(dot_rows(out, dout, width)) : 0;
    const double delta = product - dlse_of_row(item, row);
    terms.m[lane] = static_cast<float>(m);
    terms.factor[lane] = sees ? factor : 0;
    terms.delta[lane] = static_cast<float>(delta) * factor;
  }
}

// Rows [kStripLanes][stride] of a strip into columns of its panels: out [dim][stride of the panel],
// times scale.
inline void transpose_rows(const BackwardPanel& panel, const float* rows, std::int64_t stride,
                           std::int64_t dim, float scale, float* out) {
  const Vf by = set(scale);
  const std::int64_t out_stride = panel.rows.stride();
  for (int vec = 0; vec < panel.rows.vecs; ++vec) {
    const float* from = rows + (panel.lane + vec * kLanes) * stride;
    float* to = out + vec * kLanes;
    for (std::int64_t c = 0; c < dim; c += kTransposeColumns<float>) {
      transpose_step(from + c, stride, [&](auto k, const Vf& column) RAPTLY_LAMBDA {
        store(mul(column, by), to + (c + k) * out_stride);
      });
    }
  }
}

inline void read_strip(const FlashBackwardItem& item, const QueryStrip& strip,
                       const StripTerms& terms, std::int64_t first_row,
                       const BackwardMemory& memory, bool& bad_rows) {
  const FlashForwardItem& f = item.forward;
  bad_rows = false;
  for (int lane = 0; lane < kStripLanes; ++lane) {
    float* q = memory.q_rows + (first_row + lane) * memory.k_stride;
    float* dout = memory.dout_rows + (first_row + lane) * memory.v_stride;
    if (lane >= strip.lanes || terms.factor[lane] == 0) {
      std::memset(q, 0, static_cast<std::size_t>(memory.k_stride) * sizeof(float));
      std::memset(dout, 0, static_cast<std::size_t>(memory.v_stride) * sizeof(float));
      continue;
    }
    const RowOfItem row = row_of_lane(f, *strip.tile, strip.first_lane + lane);
    read_row(query_rows(f), row, f.head_dim, q);
    read_row(item.dout, row, f.v_dim, dout);
    const Vf factor = set(terms.factor[lane]);
    for (int c = 0; c < f.v_dim; c += kLanes) store(mul(load(dout + c), factor), dout + c);
    bad_rows = bad_rows || has_non_finite(q, f.head_dim) || has_non_finite(dout, f.v_dim);
  }
}

inline void make_panel(const FlashBackwardItem& item, const QueryStrip& strip, int first,
                       const StripTerms& terms, BackwardPanel& panel) {
  QueryPanel& rows = panel.rows;
  rows.tile = strip.tile;
  rows.first_lane = strip.first_lane + first;
  rows.lanes = std::min(kPanelLanes, strip.lanes - first);
  rows.vecs = (rows.lanes + kLanes - 1) / kLanes;
  panel.m = terms.m + first;
  panel.delta = terms.delta + first;
  panel.extreme = false;
  for (int lane = 0; lane < rows.lanes; ++lane) {
    panel.extreme = panel.extreme || std::fabs(panel.m[lane]) > kScoreLimit - 256;
  }
  find_bits(item.forward, rows);
  find_bias(item.forward, rows);
}

// Panels, rows and columns of all strips of a chunk.
inline void pack_chunk(const FlashBackwardItem& item, QueryChunk chunk, const StripTerms* terms,
                       const BackwardMemory& memory) {
  const FlashForwardItem& f = item.forward;
  const float scale = static_cast<float>(f.scale) * kLog2E;
  int n = 0;
  for (std::size_t s = 0; s < chunk.size(); ++s) {
    const auto first_row = static_cast<int>(s) * kStripLanes;
    memory.state->panel_begin[s] = n;
    read_strip(item, chunk[s], terms[s], first_row, memory, memory.state->bad_rows[s]);
    for (int first = 0; first < chunk[s].lanes; first += kPanelLanes, ++n) {
      BackwardPanel& panel = memory.panels[n];
      make_panel(item, chunk[s], first, terms[s], panel);
      panel.lane = first_row + first;
      panel.rows.q = memory.q + panel.lane * memory.k_stride;
      panel.dout = memory.dout + panel.lane * memory.v_stride;
      transpose_rows(panel, memory.q_rows, memory.k_stride, f.head_dim, scale, panel.rows.q);
      transpose_rows(panel, memory.dout_rows, memory.v_stride, f.v_dim, 1.0f, panel.dout);
    }
  }
  memory.state->panel_begin[chunk.size()] = n;
  memory.state->n_panels = n;
}

}  // namespace RAPTLY_TARGET
}  // namespace raptly
RAPTLY_AFTER_TARGET();
#endif
#endif
