// The f32 matmul and the rounding of activations: see matmul.cc for the int16 one.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/matmul/matmul_f32.cc"
#include "kernels/simd/targets.h"

#include "hwy/foreach_target.h"
#include "kernels/matmul/matmul_f32-inl.h"
#include "kernels/matmul/quantize-inl.h"
