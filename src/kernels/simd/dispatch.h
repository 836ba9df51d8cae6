// Picks the compiled target of a level. In the part of a kernel file that is compiled once:
//   return RAPTLY_DISPATCH(isa, rms_norm_rows)(x, ...);
// calls N_AVX3::rms_norm_rows, N_AVX2::..., N_NEON::... or scalar::rms_norm_rows. Levels above
// avx512 run the avx512 code unless the kernel has one of their own.
#pragma once

#include "raptly/execution.h"

#if defined(__x86_64__)
#define RAPTLY_DISPATCH(isa, function)       \
  ((isa) >= Isa::kAvx512 ? &N_AVX3::function \
   : (isa) == Isa::kAvx2 ? &N_AVX2::function \
                         : &scalar::function)
#elif defined(__aarch64__)
#define RAPTLY_DISPATCH(isa, function) ((isa) == Isa::kNeon ? &N_NEON::function : &scalar::function)
#else
#define RAPTLY_DISPATCH(isa, function) (&scalar::function)
#endif
