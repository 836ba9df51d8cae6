#include "attention/backward_visits.h"

#include <algorithm>

namespace raptly {

BackwardVisits::BackwardVisits(const Mask& mask, const MaskScope& scope, int group,
                               std::int64_t range_keys)
    : plan_(mask, scope, backward_tile_queries(group)) {
  for (const QueryTile& tile : plan_.tiles()) {
    const int lanes = tile.n_queries * group;
    for (int first = 0; first < lanes; first += kStripLanes) {
      strips_.push_back({&tile, first, std::min(kStripLanes, lanes - first)});
    }
  }
  visits_.resize(static_cast<std::size_t>((scope.kv_len + range_keys - 1) / range_keys));
  n_visits_.resize(static_cast<std::size_t>(n_chunks()));
  std::vector<bool> sees(visits_.size());
  for (std::int64_t c = n_chunks() - 1; c >= 0; --c) {
    sees.assign(sees.size(), false);
    for (const QueryStrip& strip : chunk(c)) {
      for (const TileSpan& span : strip.tile->spans) {
        const std::int64_t last = (span.first_key + span.n_keys - 1) / range_keys;
        for (std::int64_t r = span.first_key / range_keys; r <= last; ++r) {
          sees[static_cast<std::size_t>(r)] = true;
        }
      }
    }
    std::int32_t& rank = n_visits_[static_cast<std::size_t>(c)];
    for (std::size_t r = 0; r < sees.size(); ++r) {
      if (sees[r]) visits_[r].push_back({static_cast<std::int32_t>(c), rank++});
    }
  }
}

QueryChunk BackwardVisits::chunk(std::int64_t c) const {
  const std::int64_t begin = c * kChunkStrips;
  return QueryChunk(strips_).subspan(
      static_cast<std::size_t>(begin),
      static_cast<std::size_t>(std::min<std::int64_t>(kChunkStrips, n_strips() - begin)));
}

}  // namespace raptly
