// How the work of a plan is cut into items for the threads. Cutting never changes bits: a prefill
// item owns whole rows, and decode splits stand on the grid of 1024 keys and merge in order.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "attention/plan.h"
#include "mask/tile_plan.h"

namespace raptly {

// Query tiles [tile_begin, tile_end) of one sequence for one key head.
struct PrefillWork {
  std::int64_t sequence = 0, kv_head = 0;
  std::int64_t tile_begin = 0, tile_end = 0;
  double cost = 0;  // visible pairs
};

// All splits of one (sequence, key head) of a decoding sequence: they start at first_split, and
// state s is at state_begin + s. The item that finishes the last of them merges.
struct DecodeMerge {
  std::int64_t sequence = 0, kv_head = 0;
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

  std::int64_t n_items() const { return static_cast<std::int64_t>(prefill.size() + decode.size()); }
};

// What the list is made of: per sequence its tile plan and whether the decode driver takes it.
struct PlannedSequence {
  const TilePlan* tiles = nullptr;
  bool decode = false;
};
WorkList make_work_list(std::span<const PlannedSequence> sequences, const AttentionShape& shape,
                        int threads);

}  // namespace raptly
