#include "kernels/merge_states/merge_states.h"

#include <algorithm>
#include <cstdlib>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/merge_states/merge_states.cc"
#include "kernels/simd/targets.h"

#include "hwy/foreach_target.h"
#include "kernels/merge_states/merge_states-inl.h"

#if HWY_ONCE
#include "kernels/simd/dispatch.h"

namespace raptly {
namespace scalar {  // merge_states_scalar.cc
void merge_rows(const MergeItem& item, float* workspace) noexcept;
}

std::size_t merge_states_workspace_floats(std::size_t n_states, std::int64_t n_heads) {
  return static_cast<std::size_t>(n_heads) * 16 * (2 * n_states + 1);
}

void merge_state_rows(const MergeItem& item, float* workspace, Isa isa) noexcept {
  RAPTLY_DISPATCH(isa, merge_rows)(item, workspace);
}

}  // namespace raptly
#endif
