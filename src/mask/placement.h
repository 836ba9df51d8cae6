// Where the tokens of a scope stand. Query i stands at first_position + i and key j at j, unless a
// rule (packed, positions) gave the scope a Placement.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "mask/rule.h"

namespace raptly::mask_detail {

// Far above any memory, far below the overflow of sums of positions.
constexpr std::int64_t kMaxPosition = std::int64_t{1} << 48;
// Farther than any two positions are apart, and far enough from the ends of int64 to add up.
constexpr std::int64_t kFar = std::int64_t{1} << 60;

struct Range {
  std::int64_t least = 0;
  std::int64_t most = 0;
};
inline Range join(Range a, Range b) {
  return {std::min(a.least, b.least), std::max(a.most, b.most)};
}

// The least and the greatest of any stretch of a list in O(log n): the list, and a segment tree
// over its blocks of 16.
class RangeTable {
 public:
  RangeTable() = default;
  explicit RangeTable(std::vector<std::int64_t> values);

  std::int64_t size() const { return static_cast<std::int64_t>(values_.size()); }
  std::int64_t operator[](std::int64_t i) const { return values_[static_cast<std::size_t>(i)]; }
  const std::vector<std::int64_t>& values() const { return values_; }
  Range range(std::int64_t first, std::int64_t n) const;  // n >= 1

 private:
  static constexpr std::int64_t kBlock = 16;
  Range scan(std::int64_t begin, std::int64_t end) const;

  std::vector<std::int64_t> values_;
  std::vector<Range> tree_;  // leaves are at n_leaves_ + block, node i is over 2i and 2i + 1
  std::int64_t n_leaves_ = 0;
};

class Placement {
 public:
  virtual ~Placement() = default;
  virtual std::int64_t query_position(std::int64_t query) const = 0;
  virtual std::int64_t key_position(std::int64_t key) const = 0;
  // The positions of queries first, first + 1, ...
  virtual void list_query_positions(std::int64_t first, std::span<std::int64_t> list) const {
    for (std::int64_t& position : list) position = query_position(first++);
  }
  virtual void list_key_positions(std::int64_t first, std::span<std::int64_t> list) const {
    for (std::int64_t& position : list) position = key_position(first++);
  }
  virtual Range query_positions(std::int64_t first, std::int64_t n) const = 0;
  virtual Range key_positions(std::int64_t first, std::int64_t n) const = 0;
  // How many tokens from `first` on, at most n, stand on a line: each a position behind the one
  // before it. 0: not worth asking (a list of positions).
  virtual std::int64_t query_line(std::int64_t /*first*/, std::int64_t /*n*/) const { return 0; }
  virtual std::int64_t key_line(std::int64_t /*first*/, std::int64_t /*n*/) const { return 0; }
  // Whether all tokens are of one sequence.
  virtual bool is_one_sequence() const { return true; }
  // Counted from the first query, or key, of the token's own sequence: the top left corner.
  virtual std::int64_t query_index(std::int64_t query) const { return query; }
  virtual std::int64_t key_index(std::int64_t key) const { return key; }
  virtual Range query_indices(std::int64_t first, std::int64_t n) const {
    return {first, first + n - 1};
  }
  virtual Range key_indices(std::int64_t first, std::int64_t n) const {
    return {first, first + n - 1};
  }
};

inline std::int64_t query_position(const MaskScope& scope, std::int64_t query) {
  return scope.placement ? scope.placement->query_position(query) : scope.first_position + query;
}
inline std::int64_t key_position(const MaskScope& scope, std::int64_t key) {
  return scope.placement ? scope.placement->key_position(key) : key;
}
inline Range query_positions(const MaskScope& scope, const MaskTile& tile) {
  if (scope.placement) return scope.placement->query_positions(tile.first_query, tile.n_queries);
  return {scope.first_position + tile.first_query, scope.first_position + tile.last_query()};
}
inline Range key_positions(const MaskScope& scope, const MaskTile& tile) {
  if (scope.placement) return scope.placement->key_positions(tile.first_key, tile.n_keys);
  return {tile.first_key, tile.last_key()};
}

// The bits of a rule that asks positions only, see(query position, key position), in a scope with a
// placement.
template <class See>
void bits_by_position(const MaskScope& scope, const MaskTile& tile, std::span<std::uint64_t> words,
                      const See& see) {
  std::array<std::int64_t, kMaxTileQueries> queries;  // NOLINT: written before it is read
  std::array<std::int64_t, kBlockKeys> keys;          // NOLINT
  const auto n_queries = static_cast<std::size_t>(tile.n_queries);
  const auto n_keys = static_cast<std::size_t>(tile.n_keys);
  scope.placement->list_query_positions(tile.first_query, std::span(queries).first(n_queries));
  scope.placement->list_key_positions(tile.first_key, std::span(keys).first(n_keys));
  for (std::int64_t k = 0; k < tile.n_keys; ++k) {
    const std::int64_t key = keys[static_cast<std::size_t>(k)];
    std::uint64_t word = 0;
    for (std::int64_t i = 0; i < tile.n_queries; ++i) {
      word |= static_cast<std::uint64_t>(see(queries[static_cast<std::size_t>(i)], key)) << i;
    }
    words[static_cast<std::size_t>(k)] = word;
  }
}

// The bits of a rule that asks distances only, in any scope. On lines word(d, n) says who of n
// queries sees the key that stands d positions behind the first of them; otherwise see(query
// position, key position) says it for a pair.
template <class Word, class See>
void bits_by_distance(const MaskScope& scope, const MaskTile& tile, std::span<std::uint64_t> words,
                      const Word& word, const See& see) {
  const Placement* placement = scope.placement;
  if (placement && placement->query_line(tile.first_query, 1) == 0) {
    return bits_by_position(scope, tile, words, see);
  }
  std::fill(words.begin(), words.end(), 0);
  for (std::int64_t i = 0, n_i = 0; i < tile.n_queries; i += n_i) {
    n_i = tile.n_queries - i;
    if (placement) n_i = placement->query_line(tile.first_query + i, n_i);
    const std::int64_t query = query_position(scope, tile.first_query + i);
    for (std::int64_t k = 0, n_k = 0; k < tile.n_keys; k += n_k) {
      n_k = tile.n_keys - k;
      if (placement) n_k = placement->key_line(tile.first_key + k, n_k);
      const std::int64_t distance = key_position(scope, tile.first_key + k) - query;
      for (std::int64_t j = 0; j < n_k; ++j) {
        words[static_cast<std::size_t>(k + j)] |= word(distance + j, n_i) << i;
      }
    }
  }
}

}  // namespace raptly::mask_detail
