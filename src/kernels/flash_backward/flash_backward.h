// Backward attention kernels, lane = query on the microkernel of the forward pass:
//   S^T = K Q^T, dP^T = V dO^T, P and dS vertical, dQ^T += K^T dS^T      (lanes are queries)
//   dV += P^T dO, dK += dS^T Q                                          (lanes are dimensions)
// Weights are computed again per tile: p = 2^(s - m) 2^(m - lse), m the even integer next to lse in
// log2 units, with the scores and the 2^x of the forward pass.
//
// A thread takes a range of keys and walks over all chunks of queries that see some of them:
//   flash_backward_begin    stages keys and values, clears their gradients
//   flash_backward_chunk    one chunk: adds to dk and dv, leaves dS in the workspace
//   flash_backward_queries  adds that chunk's dS K to its sums of dq
//   flash_backward_end      writes dk and dv
// Each sum is one FMA chain: dq over keys ascending, dk and dv over chunks as they are called and
// lanes ascending. So ranges of keys, and levels, may be chosen freely: they do not show in the
// bits, if ranges that share a chunk add to its sums in order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/flash_backward/backward_item.h"

namespace raptly {

// Up to kStripLanes rows of a tile of a TilePlan, lane = query * group + head; the same strips on
// every level.
constexpr int kStripLanes = 48;
constexpr int kChunkStrips = 4;
struct QueryStrip {
  const QueryTile* tile = nullptr;
  int first_lane = 0;  // within the tile
  int lanes = 0;
};
using QueryChunk = std::span<const QueryStrip>;  // at most kChunkStrips

// Queries that a tile should have, so that strips are full.
int backward_tile_queries(int group);

// What is known of the rows of a strip before the keys: m, 2^(m - lse) and delta 2^(m - lse).
// All 0 for a row whose lse is -inf; factor is 0 for a row that sees no key but a sink.
struct StripTerms {
  alignas(64) float m[kStripLanes], factor[kStripLanes], delta[kStripLanes];
};

struct KeyRangeOfItem {
  std::int64_t first_key = 0;  // a multiple of kBlockKeys
  std::int64_t n_keys = 0;
};
constexpr std::int64_t kMaxRangeKeys = 256;

// Sums of bias gradients that are not elements of a dense tensor, of one range of keys: [group]
// slopes, or [group][2 * reach + 1] offsets. Null: not wanted.
struct BackwardSums {
  double* slopes = nullptr;
  float* offsets = nullptr;
};

// Bytes that one thread needs, 64-byte aligned. They must survive from begin to end.
std::size_t flash_backward_workspace_bytes(int head_dim, int v_dim, Isa isa);
// Floats of the dq sums of a strip.
constexpr std::int64_t dq_sum_floats(std::int64_t head_dim) {
  return (head_dim + 15) / 16 * 16 * kStripLanes;
}

void flash_backward_rows(const FlashBackwardItem& item, const QueryStrip& strip, StripTerms& terms,
                         std::byte* workspace, Isa isa) noexcept;
void flash_backward_begin(const FlashBackwardItem& item, const KeyRangeOfItem& range,
                          std::byte* workspace, Isa isa) noexcept;
// terms: of the strips of the chunk. Of dq only whether it is wanted counts.
void flash_backward_chunk(const FlashBackwardItem& item, QueryChunk chunk, const StripTerms* terms,
                          const BackwardSums& sums, std::byte* workspace, Isa isa) noexcept;
// dq_sums [strips of the chunk][dq_sum_floats]; first: they hold nothing yet; last: dq is written.
struct QueryTurn {
  float* dq_sums = nullptr;
  bool first = false, last = false;
};
void flash_backward_queries(const FlashBackwardItem& item, QueryChunk chunk, const QueryTurn& turn,
                            std::byte* workspace, Isa isa) noexcept;
void flash_backward_end(const FlashBackwardItem& item, std::byte* workspace, Isa isa) noexcept;
// dq of a chunk that sees no key.
void flash_backward_no_keys(const FlashBackwardItem& item, QueryChunk chunk, std::byte* workspace,
                            Isa isa) noexcept;

}  // namespace raptly
