// Which cache a command keeps its keys and values in: --cache and --window.
#pragma once

#include <memory>
#include <string>

#include "cli/model_options.h"

namespace raptly {

struct CacheOptions {
  std::string kind;         // empty: rolling where the model has a window that the text may leave
  std::int64_t window = 0;  // of a rolling cache; 0: as make_cache() says
};

// --cache, --window
void add_cache_options(CLI::App& command, CacheOptions& options);

// Throws WrongUse, before anything is read.
void check_cache_options(const CacheOptions& options);

// A cache for one sequence of `wanted` tokens; `bounded`: no more will ever come, so that nothing
// need be larger. A rolling cache keeps the model's window; of a model that has none the first 4
// tokens and the last 4096 (or its context, where that is less), which is not what the model was
// trained for: StreamingLLM, arXiv:2309.17453.
std::unique_ptr<KvCache> make_cache(const CacheOptions& options, const LoadedModel& loaded,
                                    std::int64_t wanted, bool bounded);

}  // namespace raptly
