// The scalar level of the probe.
#define RAPTLY_SCALAR_BUILD
#include "kernels/probe/probe-inl.h"
