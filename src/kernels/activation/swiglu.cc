#include "kernels/activation/swiglu.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/activation/swiglu.cc"
#include "kernels/simd/targets.h"

#include "hwy/foreach_target.h"
#include "kernels/activation/swiglu-inl.h"

#if HWY_ONCE
#include "kernels/simd/dispatch.h"

namespace raptly {
namespace scalar {  // swiglu_scalar.cc
void swiglu_row(const float* gate, const float* up, std::int64_t n, float* out);
}

void swiglu(const float* gate, const float* up, std::int64_t n, float* out, Isa isa) noexcept {
  RAPTLY_DISPATCH(isa, swiglu_row)(gate, up, n, out);
}

}  // namespace raptly
#endif
