// The merge as textbook loops in double: what tests compare with, and the f64 path.
#pragma once

#include "kernels/merge_states/merge_states.h"

namespace raptly {

// As merge_state_rows; states and out of any dtype, f64 too.
void merge_states_reference(const MergeItem& item);

}  // namespace raptly
