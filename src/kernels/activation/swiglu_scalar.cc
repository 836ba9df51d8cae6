// The scalar level of swiglu.
#define RAPTLY_SCALAR_BUILD
#include "kernels/activation/swiglu-inl.h"
