// The scalar level of rope.
#define RAPTLY_SCALAR_BUILD
#include "kernels/rope/rope-inl.h"
