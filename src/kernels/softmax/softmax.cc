#include "kernels/softmax/softmax.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/softmax/softmax.cc"
#include "kernels/simd/targets.h"

#include "hwy/foreach_target.h"
#include "kernels/softmax/softmax-inl.h"

#if HWY_ONCE
#include "kernels/simd/dispatch.h"

namespace raptly {
namespace scalar {  // softmax_scalar.cc
float softmax_row(const float* x, std::int64_t n, float factor, float* p);
}

float softmax(const float* x, std::int64_t n, float inverse_temperature, float* p,
              Isa isa) noexcept {
  return RAPTLY_DISPATCH(isa, softmax_row)(x, n, inverse_temperature, p);
}

}  // namespace raptly
#endif
