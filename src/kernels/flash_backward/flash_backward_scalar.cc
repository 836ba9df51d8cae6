// The scalar level of flash_backward.
#define RAPTLY_SCALAR_BUILD
#include "kernels/flash_backward/backward-inl.h"
