#include "mask/rule.h"

namespace raptly::mask_detail {

void Rule::bits(const MaskScope& scope, const MaskTile& tile,
                std::span<std::uint64_t> words) const {
  for (std::int64_t k = 0; k < tile.n_keys; ++k) {
    std::uint64_t word = 0;
    for (std::int64_t i = 0; i < tile.n_queries; ++i) {
      const bool seen = sees(scope, tile.first_query + i, tile.first_key + k);
      word |= static_cast<std::uint64_t>(seen) << i;
    }
    words[static_cast<std::size_t>(k)] = word;
  }
}

}  // namespace raptly::mask_detail
