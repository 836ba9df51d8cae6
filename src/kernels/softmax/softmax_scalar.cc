// The scalar level of softmax.
#define RAPTLY_SCALAR_BUILD
#include "kernels/softmax/softmax-inl.h"
