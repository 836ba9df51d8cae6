#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/flash_forward/decode.cc"
#include "kernels/simd/targets.h"

#include "hwy/foreach_target.h"
#include "kernels/flash_forward/decode-inl.h"
#include "kernels/flash_forward/decode_bf16-inl.h"

#if HWY_ONCE
#include "kernels/simd/dispatch.h"

namespace raptly {
namespace scalar {  // decode_scalar.cc
std::size_t decode_workspace_bytes(int head_dim, int v_dim);
void decode_split(const FlashForwardItem& item, std::int64_t split, float* state,
                  std::byte* workspace) noexcept;
void decode_merge(const FlashForwardItem& item, const DecodeStates& splits,
                  std::byte* workspace) noexcept;
}  // namespace scalar

std::size_t flash_decode_state_floats(int rows, int v_dim) {
  return static_cast<std::size_t>(2 * kMaxDecodeRows + rows * round_up(v_dim, 16));
}
std::size_t flash_decode_workspace_bytes(const FlashForwardSize& size, Isa isa) {
  const std::size_t bytes = RAPTLY_DISPATCH(isa, decode_workspace_bytes)(size.head_dim, size.v_dim);
#if defined(__x86_64__)
  if (isa == Isa::kAvx512Bf16) {
    return std::max(bytes, N_AVX3::decode_bf16_workspace_bytes(size.head_dim, size.v_dim));
  }
#endif
  return bytes;
}
void flash_decode_split(const FlashForwardItem& item, std::int64_t split, float* state,
                        std::byte* workspace, Isa isa) noexcept {
#if defined(__x86_64__)
  if (flash_forward_level(isa, item.q_dtype, item.kv->dtype) == Isa::kAvx512Bf16) {
    return N_AVX3::decode_split_bf16(item, split, state, workspace);
  }
#endif
  RAPTLY_DISPATCH(isa, decode_split)(item, split, state, workspace);
}
void flash_decode_merge(const FlashForwardItem& item, const DecodeStates& states,
                        std::byte* workspace, Isa isa) noexcept {
  RAPTLY_DISPATCH(isa, decode_merge)(item, states, workspace);
}

}  // namespace raptly
#endif
