// The steps of the backward pass (flash_backward.h).
#if defined(RAPTLY_BACKWARD_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RAPTLY_BACKWARD_INL_H
#undef RAPTLY_BACKWARD_INL_H
#else
#define RAPTLY_BACKWARD_INL_H
#endif

#include "base/floating_point_mode.h"
#include "kernels/flash_backward/backward_block-inl.h"
#include "kernels/flash_backward/bias_gradient-inl.h"
#if RAPTLY_TARGET_ENABLED
RAPTLY_BEFORE_TARGET();
namespace raptly {
namespace RAPTLY_TARGET {

std::size_t backward_workspace_bytes(int head_dim, int v_dim) {
  WorkspaceCutter cutter(nullptr);
  cut_backward_memory(head_dim, v_dim, cutter);
  return cutter.used();
}

void backward_rows(const FlashBackwardItem& item, const QueryStrip& strip, StripTerms& terms,
                   std::byte* workspace) noexcept {
  const FloatingPointMode mode;
  find_terms(item, strip, backward_memory(item, workspace), terms);
}

void backward_begin(const FlashBackwardItem& item, const KeyRangeOfItem& range,
                    std::byte* workspace) noexcept {
  const FloatingPointMode mode;
  const BackwardMemory m = backward_memory(item, workspace);
  const FlashForwardItem& f = item.forward;
  const KvView& kv = *f.kv;
  m.state->range = range;
  m.state->any_bad_key = false;
  const InputRows k{kv.runs[0].k, kv.dtype, kv.k_token_stride, kv.k_head_stride, kv.k_dim_stride};
  const InputRows v{kv.runs[0].v, kv.dtype, kv.v_token_stride, kv.v_head_stride, kv.v_dim_stride};
  for (std::int64_t i = 0; i < range.n_keys; ++i) {
    read_row(k, {range.first_key + i, f.kv_head}, f.head_dim, m.k + i * m.k_stride);
    read_row(v, {range.first_key + i, f.kv_head}, f.v_dim, m.v + i * m.v_stride);
    const bool bad = has_non_finite(m.k + i * m.k_stride, f.head_dim);
    m.bad_keys[i] = bad;
    m.state->any_bad_key |= bad;
  }
  const auto clear = [](float* rows, std::int64_t n) {
    std::memset(rows, 0, static_cast<std::size_t>(n) * sizeof(float));
  };
  clear(m.dk, range.n_keys * m.k_stride);
  clear(m.dv, range.n_keys * m.v_stride);
  clear(m.q_rows, kChunkLanes * m.k_stride);
  clear(m.dout_rows, kChunkLanes * m.v_stride);
}

// The span's keys into the piece of one block; a second span of the block joins the first.
inline void add_span(const TileSpan& span, const KeyRangeOfItem& range, std::int64_t block,
                     StripPiece& piece) {
  const std::int64_t block_begin = range.first_key + block * kBlockKeys;
  const std::int64_t begin = std::max(block_begin, span.first_key) - range.first_key;
  const std::int64_t end =
      std::min(block_begin + kBlockKeys, span.first_key + span.n_keys) - range.first_key;
  if (piece.n_spans++ == 0) {
    piece = {begin, end, span.bits, &span, 1, span.bits != nullptr};
    return;
  }
  piece.begin = std::min(piece.begin, begin);
  piece.end = std::max(piece.end, end);
}

// Who sees the keys of a piece of several spans.
inline void join_spans(const KeyRangeOfItem& range, StripPiece& piece, std::uint64_t* words) {
  for (std::int64_t row = piece.begin; row < piece.end; ++row) {
    std::uint64_t& word = words[row - piece.begin];
    word = 0;
    for (int i = 0; i < piece.n_spans; ++i) {
      const TileSpan& span = piece.span[i];
      const std::int64_t at = range.first_key + row - span.first_key;
      if (at >= 0 && at < span.n_keys)
        word |= span.bits == nullptr ? ~std::uint64_t{0} : span.bits[at];
    }
  }
  piece.bits = words;
  piece.hides = true;
}

inline void find_pieces(QueryChunk chunk, ChunkState& state) {
  const KeyRangeOfItem& range = state.range;
  const std::int64_t end = range.first_key + range.n_keys;
  for (std::size_t s = 0; s < chunk.size(); ++s) {
    StripPiece* pieces = state.pieces[s];
    for (std::int64_t b = 0; b < kRangeBlocks; ++b) pieces[b] = {};
    const auto spans = chunk[s].tile->spans;
    auto span = std::partition_point(spans.begin(), spans.end(), [&](const TileSpan& t) {
      return t.first_key + t.n_keys <= range.first_key;
    });
    for (; span != spans.end() && span->first_key < end; ++span) {
      const std::int64_t last = std::min(end, span->first_key + span->n_keys) - range.first_key - 1;
      const std::int64_t first = std::max<std::int64_t>(0, span->first_key - range.first_key);
      for (std::int64_t b = first / kBlockKeys; b <= last / kBlockKeys; ++b) {
        add_span(*span, range, b, pieces[b]);
      }
    }
    for (std::int64_t b = 0; b < kRangeBlocks; ++b) {
      if (pieces[b].n_spans > 1) join_spans(range, pieces[b], state.words[s][b]);
    }
  }
}

// All panels of a strip against one block.
inline void weigh_strip(const BackwardContext& context, QueryChunk chunk, std::size_t s,
                        std::int64_t block, const BackwardSums& sums) {
  const BackwardMemory& m = context.memory;
  StripPiece& piece = m.state->pieces[s][block];
  if (piece.begin == piece.end) return;
  const int begin = m.state->panel_begin[s], end = m.state->panel_begin[s + 1];
  for (int i = begin; i < end; ++i) piece.hides |= weigh_panel(context, m.panels[i], piece);
  if (!context.keeps_ds) return;
  const std::int64_t lane = static_cast<std::int64_t>(s) * kStripLanes;
  const float* ds = context.softcap.given() ? m.bias_ds + piece.begin % kBlockKeys * kChunkRow
                                            : m.ds + piece.begin * kChunkRow;
  const KeyPositions keys(*context.f().bias, m.state->range.first_key + piece.begin,
                          static_cast<int>(piece.end - piece.begin));
  add_bias_gradient(
      {context.item, chunk[s], std::span(m.panels + begin, static_cast<std::size_t>(end - begin)),
       keys, ds + lane},
      sums, m.bias_rows);
}

void backward_chunk(const FlashBackwardItem& item, QueryChunk chunk, const StripTerms* terms,
                    const BackwardSums& sums, std::byte* workspace) noexcept {
  const FloatingPointMode mode;
  const BackwardMemory m = backward_memory(item, workspace);
  const bool keeps_ds =
      item.dbias.at != nullptr || sums.slopes != nullptr || sums.offsets != nullptr;
  const BackwardContext context{item, m, Softcap(item.forward.softcap), keeps_ds};
  pack_chunk(item, chunk, terms, m);
  find_pieces(chunk, *m.state);
  const std::int64_t blocks = (m.state->range.n_keys + kBlockKeys - 1) / kBlockKeys;
  for (std::int64_t block = 0; block < blocks; ++block) {
    for (std::size_t s = 0; s < chunk.size(); ++s) weigh_strip(context, chunk, s, block, sums);
    add_keys_of_block(context, chunk, block);
  }
}

// dq of a panel from some keys, without the pairs whose ds is 0: some keys hold NaN or inf that
// some rows do not see.
inline void add_visible_keys(const BackwardMemory& m, const BackwardPanel& panel,
                             const StripPiece& piece, std::int64_t head_dim, float* sums) {
  for (std::int64_t row = piece.begin; row < piece.end; ++row) {
    const float* ds_at = m.ds + row * kChunkRow + panel.lane;
    for (int at = 0; at < panel.rows.stride(); at += kLanes) {
      const Vf ds = load(ds_at + at);
      const Mf none = eq(ds, zero());
      for (std::int64_t c = 0; c < head_dim; ++c) {
        float* sum = sums + c * kStripLanes + at;
        const Vf before = load(sum);
        store(select(none, before, fma(set(m.k[row * m.k_stride + c]), ds, before)), sum);
      }
    }
  }
}

template <int kVecs>
void add_queries(const BackwardMemory& m, const BackwardPanel& panel, const StripPiece& piece,
                 std::int64_t head_dim, float* sums) {
  mm_rows<kVecs, true>(head_dim, Broadcasts{m.k + piece.begin * m.k_stride, 1, m.k_stride},
                       LaneRows<float>{m.ds + piece.begin * kChunkRow + panel.lane, kChunkRow},
                       Sums{sums, kStripLanes}, piece.end - piece.begin);
}

inline void add_queries_of_panel(const BackwardMemory& m, const BackwardPanel& panel,
                                 const StripPiece& piece, std::int64_t head_dim, float* sums) {
  bool careful = false;
  if (piece.hides && m.state->any_bad_key) {
    for (std::int64_t row = piece.begin; row < piece.end; ++row) careful |= m.bad_keys[row] != 0;
  }
  if (careful) return add_visible_keys(m, panel, piece, head_dim, sums);
  if (panel.rows.vecs == 3) {
    add_queries<3>(m, panel, piece, head_dim, sums);
  } else if (panel.rows.vecs == 2) {
    add_queries<2>(m, panel, piece, head_dim, sums);
  } else {
    add_queries<1>(m, panel, piece, head_dim, sums);
  }
}

// The rows of dq of a strip from their sums; null: zeros.
inline void write_queries(const FlashBackwardItem& item, const QueryStrip& strip, const float* sums,
                          const BackwardMemory& m) {
  const FlashForwardItem& f = item.forward;
  const std::int64_t width = round_up(f.head_dim, kLanes);
  if (sums == nullptr) {
    std::memset(m.rows, 0, static_cast<std::size_t>(kStripLanes * width) * sizeof(float));
  } else {
    for (std::int64_t c = 0; c < f.head_dim; c += kLanes) {
      transpose(RowSource<float>{sums + c * kStripLanes, kStripLanes}, kStripLanes, m.rows + c,
                width);
    }
  }
  for (int lane = 0; lane < strip.lanes; ++lane) {
    write_gradient_row(item.dq, row_of_lane(f, *strip.tile, strip.first_lane + lane),
                       m.rows + lane * width, static_cast<float>(f.scale), f.head_dim,
                       item.accumulate, m.scores);
  }
}

void backward_queries(const FlashBackwardItem& item, QueryChunk chunk, const QueryTurn& turn,
                      std::byte* workspace) noexcept {
  const FloatingPointMode mode;
  const BackwardMemory m = backward_memory(item, workspace);
  const std::int64_t head_dim = item.forward.head_dim;
  const std::int64_t blocks = (m.state->range.n_keys + kBlockKeys - 1) / kBlockKeys;
  for (std::size_t s = 0; s < chunk.size(); ++s) {
    float* sums = turn.dq_sums + static_cast<std::int64_t>(s) * dq_sum_floats(head_dim);
    if (turn.first) {
      std::memset(sums, 0, static_cast<std::size_t>(dq_sum_floats(head_dim)) * sizeof(float));
    }
    for (int i = m.state->panel_begin[s]; i < m.state->panel_begin[s + 1]; ++i) {
      const BackwardPanel& panel = m.panels[i];
      for (std::int64_t block = 0; block < blocks; ++block) {
        const StripPiece& piece = m.state->pieces[s][block];
        if (piece.begin == piece.end) continue;
        add_queries_of_panel(m, panel, piece, head_dim, sums + panel.lane % kStripLanes);
      }
    }
    if (turn.last) write_queries(item, chunk[s], sums, m);
  }
}

void backward_end(const FlashBackwardItem& item, std::byte* workspace) noexcept {
  const FloatingPointMode mode;
  const BackwardMemory m = backward_memory(item, workspace);
  const FlashForwardItem& f = item.forward;
  const KeyRangeOfItem& range = m.state->range;
  for (std::int64_t i = 0; i < range.n_keys; ++i) {
    const RowOfItem row{range.first_key + i, f.kv_head};
    if (item.dk.at != nullptr) {
      write_gradient_row(item.dk, row, m.dk + i * m.k_stride, static_cast<float>(f.scale),
                         f.head_dim, item.accumulate, m.scores);
    }
    if (item.dv.at != nullptr) {
      write_gradient_row(item.dv, row, m.dv + i * m.v_stride, 1.0f, f.v_dim, item.accumulate,
                         m.scores);
    }
  }
}

void backward_no_keys(const FlashBackwardItem& item, QueryChunk chunk,
                      std::byte* workspace) noexcept {
  const FloatingPointMode mode;
  const BackwardMemory m = backward_memory(item, workspace);
  for (const QueryStrip& strip : chunk) write_queries(item, strip, nullptr, m);
}

}  // namespace RAPTLY_TARGET
}  // namespace raptly
RAPTLY_AFTER_TARGET();
#endif
#endif
