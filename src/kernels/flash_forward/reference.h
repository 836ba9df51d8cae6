// The forward pass as textbook loops in double: what tests compare kernels with, and the f64 path.
#pragma once

#include <functional>

#include "kernels/flash_forward/flash_forward.h"

namespace raptly {

struct QueryRange {
  std::int64_t begin = 0, end = 0;
};

// For each head of the item and each query of the range, over the keys that `sees(query, key)`,
// as often as it says:
//   s = scale q k;  softcap > 0: s = softcap tanh(s / softcap);  s += bias(head, query, key);
//   sum = e^sink + sum over keys of e^s;  out = sum of e^s v / sum;  lse = log sum
// All dtypes, f64 too; item.tiles is not read. Keys of no run are never seen, nor are those whose
// bias is -inf. A row that sees nothing: out 0, lse the sink, or -inf without one.
void flash_forward_reference(const FlashForwardItem& item, QueryRange queries,
                             const std::function<int(std::int64_t, std::int64_t)>& sees);

}  // namespace raptly
