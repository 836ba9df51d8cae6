#include "kernels/flash_forward/flash_forward.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/flash_forward/flash_forward.cc"
#include "kernels/simd/targets.h"

#include "hwy/foreach_target.h"
#include "kernels/flash_forward/prefill-inl.h"

#if HWY_ONCE
#include "kernels/simd/dispatch.h"

namespace raptly {
namespace scalar {  // flash_forward_scalar.cc
std::size_t prefill_workspace_bytes(const FlashForwardSize& size);
void flash_prefill(const FlashForwardItem& item, std::byte* workspace) noexcept;
int prefill_tile_queries(int group);
}  // namespace scalar

int flash_forward_tile_queries(int group, Isa isa) {
  return RAPTLY_DISPATCH(isa, prefill_tile_queries)(group);
}
std::size_t flash_forward_workspace_bytes(const FlashForwardSize& size, Isa isa) {
  return RAPTLY_DISPATCH(isa, prefill_workspace_bytes)(size);
}
void flash_forward(const FlashForwardItem& item, std::byte* workspace, Isa isa) noexcept {
  RAPTLY_DISPATCH(isa, flash_prefill)(item, workspace);
}

}  // namespace raptly
#endif
