#include "models/mlp.h"

#include "kernels/activation/swiglu.h"
#include "models/residual.h"

namespace raptly {

void mlp(const MlpLayer& layer, double norm_eps, ForwardState& state) noexcept {
  const std::int64_t width = layer.gate_up.n_out(), d_ff = width / 2, d_model = layer.down.n_out();
  norm_residual(layer.norm, norm_eps, layer.gate_up.wants_int16(), state);
  state.run_linear(layer.gate_up, state.projected_row(0, width), width);
  const bool int16 = layer.down.wants_int16();
  state.input.set_width(d_ff);
  state.for_rows([&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      const float* gate = state.projected_row(r, width);
      swiglu(gate, gate + d_ff, d_ff, state.input.row(r), state.isa);
    }
    state.input.finish_rows(begin, end, int16, state.isa);
  });
  state.run_linear(layer.down, state.projected_row(0, d_model), d_model);
  state.pending = true;
}

}  // namespace raptly
