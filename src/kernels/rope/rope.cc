#include "kernels/rope/rope.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/rope/rope.cc"
#include "kernels/simd/targets.h"

#include "hwy/foreach_target.h"
#include "kernels/rope/rope-inl.h"

#if HWY_ONCE
#include "kernels/simd/dispatch.h"

namespace raptly {
namespace scalar {  // rope_scalar.cc
void rope_rows(const RopeRows& rows, const float* cos, const float* sin);
}

void rope(const RopeRows& rows, const float* cos, const float* sin, Isa isa) noexcept {
  RAPTLY_DISPATCH(isa, rope_rows)(rows, cos, sin);
}

}  // namespace raptly
#endif
