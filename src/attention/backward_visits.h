// The tile plan turned round: which chunks of queries see some of a range of keys.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/flash_backward/flash_backward.h"
#include "mask/tile_plan.h"

namespace raptly {

// rank: how many lower ranges the chunk sees; its sums of dq take them in this order.
struct ChunkVisit {
  std::int32_t chunk = 0;
  std::int32_t rank = 0;
};

class BackwardVisits {
 public:
  // Tiles of backward_tile_queries(group) queries; ranges of range_keys keys. Throws as TilePlan.
  BackwardVisits(const Mask& mask, const MaskScope& scope, int group, std::int64_t range_keys);
  BackwardVisits(BackwardVisits&&) noexcept = default;
  BackwardVisits& operator=(BackwardVisits&&) noexcept = default;

  std::int64_t n_strips() const { return static_cast<std::int64_t>(strips_.size()); }
  std::int64_t n_chunks() const { return (n_strips() + kChunkStrips - 1) / kChunkStrips; }
  QueryChunk chunk(std::int64_t c) const;
  // From the last chunk to the first: under a causal mask or a window, ranges that run at the same
  // time then start at different chunks, and none waits for another.
  std::span<const ChunkVisit> visits(std::int64_t range) const {
    return visits_[static_cast<std::size_t>(range)];
  }
  std::int32_t n_visits(std::int64_t chunk) const {
    return n_visits_[static_cast<std::size_t>(chunk)];
  }
  const TilePlan& plan() const { return plan_; }

 private:
  TilePlan plan_;
  std::vector<QueryStrip> strips_;
  std::vector<std::vector<ChunkVisit>> visits_;
  std::vector<std::int32_t> n_visits_;
};

}  // namespace raptly
