// What a cache lets a mask see.
#pragma once

#include "raptly/cache.h"
#include "raptly/mask.h"

namespace raptly {

// The mask, restricted to the sinks and the window that the cache keeps. Throws kInvalidArgument
// for a mask that says where tokens stand, where the cache evicts.
Mask within_cache_window(const Mask& mask, const CacheWindow& window);

}  // namespace raptly
