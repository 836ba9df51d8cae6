// The scalar level of the functions under test.
#define RAPTLY_SCALAR_BUILD
#include "kernels/softmax_state/test_targets-inl.h"
