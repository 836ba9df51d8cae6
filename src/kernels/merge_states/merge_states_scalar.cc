// The scalar level of merge_states.
#define RAPTLY_SCALAR_BUILD
#include <algorithm>
#include <cstdlib>

#include "kernels/merge_states/merge_states-inl.h"
