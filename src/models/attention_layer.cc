#include "models/attention_layer.h"

#include <algorithm>

#include "kernels/rope/rope.h"
#include "models/residual.h"

namespace raptly {
namespace {

// Turns q and k of rows [begin, end) and stores k and v in the cache.
void rope_and_cache(const AttentionSizes& sizes, std::int64_t layer, std::int64_t begin,
                    std::int64_t end, const ForwardState& state) {
  const std::int64_t q_width = sizes.n_heads * sizes.head_dim;
  const std::int64_t kv_width = sizes.n_kv_heads * sizes.head_dim;
  const std::int64_t width = q_width + 2 * kv_width;
  rope({.x = state.projected_row(begin, width),
        .row_stride = width,
        .n_rows = end - begin,
        .n_heads = sizes.n_heads + sizes.n_kv_heads,
        .head_dim = static_cast<int>(sizes.head_dim),
        .rotary_dim = static_cast<int>(sizes.rotary_dim),
        .style = RopeStyle::kHalf},
       state.cos_row(begin), state.sin_row(begin), state.isa);
  auto sequence = std::upper_bound(
      state.sequences.begin(), state.sequences.end(), begin,
      [](std::int64_t row, const BatchSequence& s) { return row < s.first_row + s.n_rows; });
  for (; sequence != state.sequences.end() && sequence->first_row < end; ++sequence) {
    const std::int64_t from = std::max(begin, sequence->first_row);
    const std::int64_t to = std::min(end, sequence->first_row + sequence->n_rows);
    if (from >= to) continue;
    const float* k = state.projected_row(from, width) + q_width;
    state.cache->write(sequence->id, layer, sequence->first_ordinal + from - sequence->first_row,
                       to - from, k, width, k + kv_width, width);
  }
}

}  // namespace

void attend(const AttentionLayer& layer, const AttentionSizes& sizes, std::int64_t layer_index,
            ForwardState& state) noexcept {
  const std::int64_t q_width = sizes.n_heads * sizes.head_dim;
  const std::int64_t width = q_width + 2 * sizes.n_kv_heads * sizes.head_dim;
  norm_residual(layer.norm, sizes.norm_eps, layer.qkv.wants_int16(), state);
  state.run_linear(layer.qkv, state.projected_row(0, width), width);
  state.for_rows([&](std::int64_t begin, std::int64_t end) {
    rope_and_cache(sizes, layer_index, begin, end, state);
  });
  state.input.set_width(q_width);
  for (std::size_t i = 0; i < state.sequences.size(); ++i) {
    const BatchSequence& sequence = state.sequences[i];
    state.tensors[i] = {.q = state.projected_row(sequence.first_row, width),
                        .out = state.input.row(sequence.first_row),
                        .lse = nullptr,
                        .kv = state.cache->view(sequence.id, layer_index),
                        .initial_states = {},
                        .final_states = {}};
  }
  state.attention->run(state.tensors, {.q_token = width,
                                       .q_head = sizes.head_dim,
                                       .q_dim = 1,
                                       .out_token = state.input.stride(),
                                       .out_head = sizes.head_dim,
                                       .out_dim = 1,
                                       .lse_head = 0,
                                       .lse_token = 0});
}

void project_heads(const AttentionLayer& layer, ForwardState& state) noexcept {
  const bool int16 = layer.o.wants_int16();
  state.for_rows([&](std::int64_t begin, std::int64_t end) {
    state.input.finish_rows(begin, end, int16, state.isa);
  });
  const std::int64_t d_model = layer.o.n_out();
  state.run_linear(layer.o, state.projected_row(0, d_model), d_model);
  state.pending = true;
}

}  // namespace raptly
