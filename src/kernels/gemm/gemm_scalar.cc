// The scalar level of gemm.
#define RAPTLY_SCALAR_BUILD
#include "kernels/gemm/gemm-inl.h"
