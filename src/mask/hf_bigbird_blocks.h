// The random blocks that transformers draws for BigBird while training: NumPy's legacy generator,
// seeded anew at each call.
#pragma once

#include <cstdint>
#include <vector>

#include "raptly/mask.h"

namespace raptly::mask_detail {

// [n_heads][(row - 1) * num_random_blocks + i] for the block rows 1 .. n - 2 of seq_len tokens,
// rounded up to whole blocks. Empty lists for sequences that see everything. Throws
// kInvalidArgument where transformers finds fewer blocks than it asks for, and fails.
std::vector<std::vector<std::int64_t>> hf_random_blocks(const mask::HfBigBirdOptions& options);

}  // namespace raptly::mask_detail
