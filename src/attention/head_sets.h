// Which heads share lanes, and which share a tile plan.
#pragma once

#include <cstdint>
#include <vector>

#include "raptly/mask.h"

namespace raptly {

// Heads share lanes where they share a key head and see the same pairs.
struct HeadSets {
  std::int64_t n_sets = 0;         // set s: heads s * heads_per_set and on
  std::int64_t heads_per_set = 1;  // the group, or 1 where heads of a group see different pairs
};
HeadSets head_sets(const Mask& mask, std::int64_t n_heads, std::int64_t n_kv_heads);

// For each head set the first head that sees the same pairs; one entry when all do.
std::vector<std::int64_t> heads_to_plan(const Mask& mask, const HeadSets& heads);

}  // namespace raptly
