#include "kernels/flash_forward/flash_forward.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/flash_forward/flash_forward.cc"
#include "kernels/simd/targets.h"

#include "hwy/foreach_target.h"
#include "kernels/flash_forward/prefill_bf16-inl.h"
#include "kernels/flash_forward/prefill_entries-inl.h"

#if HWY_ONCE
#include "kernels/simd/dispatch.h"

namespace raptly {
namespace scalar {  // flash_forward_scalar.cc
std::size_t prefill_workspace_bytes(const FlashForwardSize& size);
void flash_prefill(const FlashForwardItem& item, std::byte* workspace) noexcept;
int prefill_tile_queries(int group);
}  // namespace scalar

Isa flash_forward_level(Isa isa, DType q_dtype, DType kv_dtype) {
  if (isa <= Isa::kAvx512) return isa;
  const bool dots = isa == Isa::kAvx512Bf16 && q_dtype == DType::kBf16 && kv_dtype == DType::kBf16;
  return dots ? isa : Isa::kAvx512;
}

int flash_forward_tile_queries(int group, Isa isa) {
  return RAPTLY_DISPATCH(isa, prefill_tile_queries)(group);
}
std::size_t flash_forward_workspace_bytes(const FlashForwardSize& size, Isa isa) {
  return RAPTLY_DISPATCH(isa, prefill_workspace_bytes)(size);
}
void flash_forward(const FlashForwardItem& item, std::byte* workspace, Isa isa) noexcept {
#if defined(__x86_64__)
  if (flash_forward_level(isa, item.q_dtype, item.kv->dtype) == Isa::kAvx512Bf16) {
    return N_AVX3::flash_prefill_bf16(item, workspace);
  }
#endif
  RAPTLY_DISPATCH(isa, flash_prefill)(item, workspace);
}

}  // namespace raptly
#endif
