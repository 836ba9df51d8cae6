// The scalar level of rms_norm.
#define RAPTLY_SCALAR_BUILD
#include "kernels/norm/rms_norm-inl.h"
