// The scalar level of flash_forward.
#define RAPTLY_SCALAR_BUILD
#include "kernels/flash_forward/prefill_entries-inl.h"
