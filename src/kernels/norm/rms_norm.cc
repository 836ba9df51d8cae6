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
void rms_norm_rows(const float* x, std::int64_t x_stride, const float* weight, double eps,
                   std::int64_t rows, std::int64_t n, float* y, std::int64_t y_stride);
}

void rms_norm(const float* x, std::int64_t x_stride, const float* weight, double eps,
              std::int64_t rows, std::int64_t n, float* y, std::int64_t y_stride,
              Isa isa) noexcept {
  RAPTLY_DISPATCH(isa, rms_norm_rows)(x, x_stride, weight, eps, rows, n, y, y_stride);
}

}  // namespace raptly
#endif
