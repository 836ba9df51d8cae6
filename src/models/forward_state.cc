#include "models/forward_state.h"

#include <algorithm>

namespace raptly {
namespace {

template <class T>
void grow(AlignedArray<T>& array, std::int64_t n) {
  if (array.size() >= static_cast<std::size_t>(n)) return;
  array = AlignedArray<T>();  // before the new one: never both at once
  array = AlignedArray<T>(static_cast<std::size_t>(n));
}

}  // namespace

void ForwardState::reserve(std::int64_t n_rows, ExecutionContext& new_context) {
  grow(residual_, n_rows * widths_.d_model);
  grow(projected_, n_rows * widths_.widest_output);
  grow(cos_, n_rows * widths_.rotary_pairs);
  grow(sin_, n_rows * widths_.rotary_pairs);
  grow(scratch_, new_context.threads());
  input.reserve(n_rows, widths_.widest_input);
  context = &new_context;
  isa = new_context.isa();
  rows = n_rows;
}

void ForwardState::run_linear(const Linear& linear, float* y,
                              std::int64_t y_stride) const noexcept {
  // Whole panel pairs (the kernel's tile), up to 16 items a thread: items of small matrices stay
  // small, so that 36 panels split evenly, and one of a large matrix is long against handing it
  // out.
  const std::int64_t panels = linear.n_panels();
  const std::int64_t chunk = std::max<std::int64_t>(2, panels / (16 * context->threads()) / 2 * 2);
  pool().parallel_for((panels + chunk - 1) / chunk, [&](std::int64_t item, int worker) {
    const std::int64_t begin = item * chunk;
    linear.run(input, {rows, begin, std::min(begin + chunk, panels), y, y_stride}, scratch(worker),
               isa);
  });
}

}  // namespace raptly
