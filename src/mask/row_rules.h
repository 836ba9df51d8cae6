// Masks of some of the queries, for entry points that give them tensors of their own: rows of
// global tokens (Longformer). They have no text form.
#pragma once

#include <cstdint>
#include <vector>

#include "mask/tile_plan.h"
#include "raptly/mask.h"

namespace raptly {

// Sorted query indices of each batch entry; one list stands for all.
using QueryLists = std::vector<std::vector<std::int64_t>>;

// The lengths of a call, and how many batch entries its mask tells apart: at least 1.
struct MaskLengths {
  std::int64_t entries = 1, q_len = 0, kv_len = 0;

  MaskScope scope(std::int64_t entry, std::int64_t head = 0) const {
    return bottom_right_scope(q_len, kv_len, entry, head);
  }
};

// Whether a rule of the mask makes tokens global (global_tokens, longformer), and which queries of
// each entry are. A rule below ~ makes none. Throws kInvalidArgument when the mask does not
// fit the lengths.
bool has_global_tokens(const Mask& mask);
QueryLists global_queries(const Mask& mask, const MaskLengths& lengths);

// The mask without the pairs of these queries: their rows see nothing. Both need a mask that has
// rules (a mask with global tokens has).
Mask hide_queries(const Mask& mask, QueryLists queries);

// The mask of these queries alone: query i of batch entry b is query queries[b][i] of `mask` in a
// call of those lengths, at the same position.
Mask select_queries(const Mask& mask, QueryLists queries, const MaskLengths& lengths);

}  // namespace raptly
