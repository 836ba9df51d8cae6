#include "models/residual.h"

#include <cstring>

#include "kernels/norm/rms_norm.h"

namespace raptly {

void norm_residual(const std::vector<float>& weight, double eps, bool int16,
                   ForwardState& state) noexcept {
  const auto n = static_cast<std::int64_t>(weight.size());
  const bool add = state.pending;
  state.pending = false;
  state.input.set_width(n);
  state.for_rows([&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; add && r < end; ++r) {
      float* x = state.residual_row(r);
      const float* delta = state.projected_row(r, n);
      for (std::int64_t i = 0; i < n; ++i) x[i] += delta[i];
    }
    rms_norm({state.residual_row(begin), n, state.input.row(begin), state.input.stride(),
              end - begin, n},
             weight.data(), eps, state.isa);
    state.input.finish_rows(begin, end, int16, state.isa);
  });
}

void keep_rows(std::span<const std::int64_t> kept, ForwardState& state) noexcept {
  const auto bytes = [](std::int64_t n) { return static_cast<std::size_t>(n) * sizeof(float); };
  const std::int64_t d_model = state.residual_row(1) - state.residual_row(0);
  const std::int64_t width = state.input.stride();
  for (std::size_t i = 0; i < kept.size(); ++i) {
    const auto to = static_cast<std::int64_t>(i);
    if (to == kept[i]) continue;
    std::memcpy(state.residual_row(to), state.residual_row(kept[i]), bytes(d_model));
    std::memcpy(state.input.row(to), state.input.row(kept[i]), bytes(width));
    if (state.pending) {
      std::memcpy(state.projected_row(to, d_model), state.projected_row(kept[i], d_model),
                  bytes(d_model));
    }
  }
  state.rows = static_cast<std::int64_t>(kept.size());
}

}  // namespace raptly
