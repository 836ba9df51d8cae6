// The backward pass as textbook loops in double: what tests compare kernels with, and the f64 path.
#pragma once

#include <cstdint>
#include <functional>

#include "kernels/flash_backward/backward_item.h"

namespace raptly {

// Adds the gradients of the item's heads to dq, dk, dv, dbias and dsinks, whatever item.accumulate
// says, over the keys that `sees(query, key)`, as often as it says. out and lse are computed anew;
// item.forward.out and lse are not read. Meant for f64; any dtype of inputs.
void flash_backward_reference(const FlashBackwardItem& item, std::int64_t q_len,
                              const std::function<int(std::int64_t, std::int64_t)>& sees);

}  // namespace raptly
