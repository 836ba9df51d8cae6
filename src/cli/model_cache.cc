#include "cli/model_cache.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "cli/option_checks.h"
#include "cli/program.h"

namespace raptly {
namespace {

constexpr std::int64_t kPageSize = 16;
constexpr std::int64_t kSinks = 4;
constexpr std::int64_t kMostWindow = 4096;
// Prompts are read 512 tokens at a time; the same many can be taken back (a turn's last answer).
const std::int64_t kSlack = GenerateOptions().prefill_chunk - 1;

RollingOptions rolling_options(const CacheOptions& options, const ModelConfig& config) {
  const bool trained = config.window > 0;
  const std::int64_t context = config.max_positions > 0 ? config.max_positions : kMostWindow;
  RollingOptions rolling{.window = trained ? config.window : std::min(context, kMostWindow),
                         .slack = kSlack,
                         .n_sinks = trained ? 0 : kSinks};
  if (options.window > 0) rolling.window = options.window;
  return rolling;
}

}  // namespace

void add_cache_options(CLI::App& command, CacheOptions& options) {
  command
      .add_option("--cache", options.kind,
                  "How keys and values are kept (default contiguous; rolling where the model has a "
                  "window that the text may leave)")
      ->type_name("contiguous|rolling|paged");
  command
      .add_option("--window", options.window,
                  "Of --cache rolling: tokens that a token sees, itself included (default the "
                  "model's window; without one 4096 at most)")
      ->check(whole_number(1, 1 << 24))
      ->type_name("N");
}

void check_cache_options(const CacheOptions& options) {
  if (!options.kind.empty() && options.kind != "contiguous" && options.kind != "rolling" &&
      options.kind != "paged") {
    throw WrongUse{"[cli] --cache is '" + options.kind +
                   "'. There are: contiguous, rolling, paged."};
  }
  if (options.window > 0 && options.kind != "rolling") {
    throw WrongUse{"[cli] --window is for --cache rolling. Give both, or none."};
  }
}

std::unique_ptr<KvCache> make_cache(const CacheOptions& options, const LoadedModel& loaded,
                                    std::int64_t wanted, bool bounded) {
  const Model& model = *loaded.model;
  const CacheShape shape = model.cache_shape(loaded.kv);
  const std::int64_t capacity = cache_capacity(model, wanted);
  RollingOptions rolling = rolling_options(options, model.config());
  const bool leaves = wanted > rolling.window + rolling.slack;
  if (options.kind == "rolling" || (options.kind.empty() && model.config().window > 0 && leaves)) {
    if (bounded) rolling.window = std::min(rolling.window, std::max<std::int64_t>(1, wanted));
    spdlog::info("a rolling cache of {} tokens and {} sinks", rolling.window, rolling.n_sinks);
    return std::make_unique<RollingCache>(shape, rolling);
  }
  if (options.kind != "paged") return std::make_unique<ContiguousCache>(shape, capacity);
  const std::int64_t n_pages = (capacity + kPageSize - 1) / kPageSize;
  return std::make_unique<PagedCache>(shape,
                                      PagedOptions{.n_pages = n_pages, .page_size = kPageSize});
}

}  // namespace raptly
