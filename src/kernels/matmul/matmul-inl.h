// The kernels of matmul.h for one target, and their table.
#if defined(RAPTLY_MATMUL_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RAPTLY_MATMUL_INL_H
#undef RAPTLY_MATMUL_INL_H
#else
#define RAPTLY_MATMUL_INL_H
#endif

#include "kernels/matmul/matmul_f32-inl.h"
#include "kernels/matmul/matmul_int16-inl.h"
#include "kernels/matmul/quantize-inl.h"
#if RAPTLY_TARGET_ENABLED
RAPTLY_BEFORE_TARGET();
namespace raptly {
namespace RAPTLY_TARGET {

extern const MatmulKernels kMatmulKernels;
const MatmulKernels kMatmulKernels = {
#if HWY_TARGET == HWY_AVX2
    "avx2",
#elif HWY_TARGET == HWY_AVX3
    "avx512",
#else
    "neon",
#endif
    &quantize_rows, &int16_panels, &f32_panels};

}  // namespace RAPTLY_TARGET
}  // namespace raptly
RAPTLY_AFTER_TARGET();
#endif
#endif
