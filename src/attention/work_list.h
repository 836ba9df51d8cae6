// How the work of a plan is cut into items for the threads. Cutting never changes bits: a prefill
// item owns whole rows, and decode splits stand on the grid of 1024 keys and merge in order.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "attention/head_sets.h"
#include "attention/plan.h"
#include "mask/tile_plan.h"

namespace raptly {

// Query tiles [tile_begin, tile_end) of one sequence for the heads from first_head on that share
// lanes.
struct PrefillWork {
  std::int64_t sequence = 0, first_head = 0;
  std::int64_t tile_begin = 0, tile_end = 0;
  double cost = 0;  // visible pairs
};

// All splits of one (sequence, heads that share lanes) of a decoding sequence: they start at
// first_split, and state s is at state_begin + s. The item that finishes the last of them merges.
struct DecodeMerge {
  std::int64_t sequence = 0, first_head = 0;
  std::int64_t first_split = 0, n_splits = 0;
  std::int64_t state_begin = 0;
};
struct DecodeWork {
  std::int64_t merge = 0;  // index into merges
  std::int64_t split_begin = 0, split_end = 0;
};

struct WorkList {
  std::vector<PrefillWork> prefill;
  std::vector<DecodeMerge> merges;
  std::vector<DecodeWork> decode;
  std::int64_t n_states = 0;
  std::int64_t max_tiles = 0;  // of a prefill item

  void add(const PrefillWork& work);
  std::int64_t n_items() const { return static_cast<std::int64_t>(prefill.size() + decode.size()); }
};

// What the list is made of: per sequence its tile plans and whether the decode driver takes it.
struct PlannedSequence {
  std::vector<const TilePlan*> plans;  // one for all head sets, or one for each
  bool decode = false;

  const TilePlan& plan(std::int64_t head_set) const {
    return *plans[plans.size() == 1 ? 0 : static_cast<std::size_t>(head_set)];
  }
};
WorkList make_work_list(std::span<const PlannedSequence> sequences, const HeadSets& heads,
                        int threads);

}  // namespace raptly
