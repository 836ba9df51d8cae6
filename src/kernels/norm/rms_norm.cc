#include "kernels/norm/rms_norm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/norm/rms_norm.cc"
#include "kernels/simd/targets.h"

#include "hwy/foreach_target.h"
#include "kernels/norm/rms_norm-inl.h"

#if HWY_ONCE
#include "kernels/simd/dispatch.h"

namespace raptly {
namespace scalar {  // rms_norm_scalar.cc
void rms_norm_rows(const RmsNormRows& rows, const float* weight, double eps);
}

void rms_norm(const RmsNormRows& rows, const float* weight, double eps, Isa isa) noexcept {
  RAPTLY_DISPATCH(isa, rms_norm_rows)(rows, weight, eps);
}

}  // namespace raptly
#endif
