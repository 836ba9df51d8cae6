#include "attention/cache_window.h"

#include <numeric>
#include <vector>

#include "mask/rule.h"
#include "raptly/error.h"

namespace raptly {

Mask within_cache_window(const Mask& mask, const CacheWindow& window) {
  if (window.window == 0) return mask;
  // The cache counts tokens; such a mask would make its window count something else.
  if (mask.rule() != nullptr && mask.rule()->moves_tokens()) {
    throw Error(ErrorCode::kInvalidArgument,
                "[attention_with_cache] the mask is " + mask.to_string() +
                    ", which says where tokens stand (lengths, packed, positions). With a rolling "
                    "cache they stand in their order: leave that rule out.");
  }
  Mask kept = mask::window(window.window - 1, std::nullopt);
  if (window.n_sinks > 0) {
    std::vector<std::int64_t> sinks(static_cast<std::size_t>(window.n_sinks));
    std::iota(sinks.begin(), sinks.end(), 0);
    kept = kept | mask::global_tokens(sinks);
  }
  return mask.rule() == nullptr ? kept : mask & kept;
}

}  // namespace raptly
