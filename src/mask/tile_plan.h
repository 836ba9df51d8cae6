// The tile plan: for each tile of queries, the ordered list of key spans that its queries see.
//
// This is all a kernel knows of masks. Keys stand on a grid anchored at ordinal 0: blocks of 128
// keys, splits of 1024 (docs/numerics.md); masks choose blocks and never move the grid. Built in
// O(tiles): rules answer whole tiles as empty, full or partial.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "raptly/mask.h"

namespace raptly {

namespace mask_detail {
class Placement;
}

constexpr std::int64_t kBlockKeys = 128;
constexpr std::int64_t kSplitKeys = 1024;
constexpr int kMaxTileQueries = 64;

// Keys [first_key, first_key + n_keys) of a tile. Full (bits null): every query of the tile sees
// every key; may be many blocks long; first_key is a multiple of kBlockKeys. Partial: inside one
// block, first_key is a multiple of 8 and bit i of bits[key - first_key] says that query i sees the
// key; the first and last 8 keys hold a visible one. The words up to the next multiple of 8 keys
// exist and are 0.
struct TileSpan {
  std::int64_t first_key = 0;
  std::int64_t n_keys = 0;
  const std::uint64_t* bits = nullptr;
};

struct QueryTile {
  std::int64_t first_query = 0;  // within the sequence
  int n_queries = 0;             // <= kMaxTileQueries
  // Ascending by block; empty: no query sees anything. A block that some query sees twice
  // (hf_bigbird) is listed twice, the span that ends first in front.
  std::span<const TileSpan> spans;
};

// Where a mask is asked: one sequence (batch entry) and one head.
struct MaskScope {
  std::int64_t batch = 0;
  std::int64_t head = 0;
  std::int64_t q_len = 0;
  std::int64_t kv_len = 0;
  std::int64_t first_position = 0;  // position of query 0; keys stand at their ordinals

  // Set by rules that say where tokens stand (Rule::place), for the other rules of the tree.
  const mask_detail::Placement* placement = nullptr;  // positions that are not a straight line
  std::optional<std::int64_t> sequence_kv_len = std::nullopt;  // without padding; default kv_len
  int copy = 0;  // pairs seen more often than this (Rule::max_copies)
};

// The last query stands at the last key: what a call means that gives no positions.
inline MaskScope bottom_right_scope(std::int64_t q_len, std::int64_t kv_len, std::int64_t batch,
                                    std::int64_t head) {
  return {.batch = batch,
          .head = head,
          .q_len = q_len,
          .kv_len = kv_len,
          .first_position = kv_len - q_len};
}

class TilePlan {
 public:
  TilePlan() = default;
  // tile_queries: 1 .. kMaxTileQueries. Throws kInvalidArgument when the mask does not fit the
  // scope.
  TilePlan(const Mask& mask, const MaskScope& scope, int tile_queries);
  TilePlan(TilePlan&&) noexcept = default;
  TilePlan& operator=(TilePlan&&) noexcept = default;

  // Drops keys [0, key), whole splits of which every query of the plan sees every key: somebody
  // else attends to them.
  void skip_keys_before(std::int64_t key);

  const MaskScope& scope() const { return scope_; }
  std::span<const QueryTile> tiles() const { return tiles_; }
  // Tiles of the block grid (tile_queries x kBlockKeys), and pairs that are visible.
  std::int64_t n_full() const { return n_full_; }
  std::int64_t n_partial() const { return n_partial_; }
  std::int64_t n_empty() const { return n_empty_; }
  std::int64_t n_again() const { return n_again_; }  // full or partial, and listed before
  std::int64_t visible_pairs() const { return visible_pairs_; }
  std::size_t memory_bytes() const;

 private:
  class Builder;
  MaskScope scope_;
  std::vector<QueryTile> tiles_;
  std::vector<TileSpan> spans_;
  std::vector<std::uint64_t> bits_;
  std::int64_t n_full_ = 0, n_partial_ = 0, n_empty_ = 0, n_again_ = 0, visible_pairs_ = 0;
};

}  // namespace raptly
