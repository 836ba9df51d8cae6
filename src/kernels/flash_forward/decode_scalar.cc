// The scalar level of the decode driver.
#define RAPTLY_SCALAR_BUILD
#include "kernels/flash_forward/decode-inl.h"
