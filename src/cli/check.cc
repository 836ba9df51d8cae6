// `raptly check`: the promise of equal bits, shown as hashes of a model's logits.
#include <algorithm>
#include <cstdio>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/model_options.h"
#include "cli/option_checks.h"
#include "cli/program.h"

namespace raptly {
namespace {

// Tokens of a prompt computed at once: a Ctrl-C waits no longer than these take, and their logits
// are 38 MB for a vocabulary of 49,152.
constexpr std::int64_t kMostAtOnce = 192;
constexpr std::int64_t kPageSize = 16;

struct Options {
  ModelOptions model;
  std::int64_t tokens = 160;  // more than a block of 128 keys
  bool json = false;
};

// The prompt is given `chunk` tokens at a time, alone or beside another sequence of `beside`
// tokens.
struct Way {
  std::int64_t chunk = 0;
  std::int64_t beside = 0;
  bool paged = false;  // the cache, in pages of kPageSize tokens
};

struct Row {
  std::string how;
  std::uint64_t hash = 0;
  bool equal = false;
};

// FNV-1a over the bits of the logits.
std::uint64_t hash_of(std::span<const float> values, std::uint64_t hash = 14695981039346656037u) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(values.data());
  for (std::size_t i = 0; i < values.size_bytes(); ++i) hash = (hash ^ bytes[i]) * 1099511628211u;
  return hash;
}

std::string hex(std::uint64_t hash) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash));
  return text;
}

class Checker {
 public:
  Checker(Model& model, DType kv, std::int64_t n) : model_(model), kv_(kv) {
    std::uint64_t state = 7;
    for (std::int64_t i = 0; i < n; ++i) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      tokens_.push_back(static_cast<std::int32_t>(
          (state >> 33) % static_cast<std::uint64_t>(model.config().vocab_size)));
    }
  }

  // A hash of the logits of every token. `progress` hears the share that is done.
  std::uint64_t run(ExecutionContext& context, const Way& way,
                    const std::function<void(double)>& progress) {
    const auto n = static_cast<std::int64_t>(tokens_.size());
    std::int64_t beside = way.beside;
    const std::unique_ptr<KvCache> owned = make_cache(way);
    KvCache& cache = *owned;
    const SequenceId other = cache.add_sequence();
    const SequenceId sequence = cache.add_sequence();
    std::uint64_t hash = hash_of({});
    for (std::int64_t done = 0; done < n;) {
      if (InterruptGuard::interrupted()) throw Interrupted{};
      const std::int64_t length = std::min(way.chunk, n - done);
      hash = hash_of(forward(context, cache, {other, sequence}, {beside, length}, done), hash);
      beside = 0;
      done += length;
      progress(static_cast<double>(done) / static_cast<double>(n));
    }
    return hash;
  }

 private:
  std::unique_ptr<KvCache> make_cache(const Way& way) const {
    const CacheShape shape = model_.cache_shape(kv_);
    const std::int64_t most = std::max(std::ssize(tokens_), way.beside);
    if (!way.paged) return std::make_unique<ContiguousCache>(shape, most);
    const std::int64_t n_pages = 2 * (most / kPageSize + 1);
    return std::make_unique<PagedCache>(shape,
                                        PagedOptions{.n_pages = n_pages, .page_size = kPageSize});
  }

  std::vector<float> forward(ExecutionContext& context, KvCache& cache,
                             std::vector<SequenceId> sequences, std::vector<std::int64_t> lengths,
                             std::int64_t done) {
    std::vector<std::int32_t> tokens(tokens_.rbegin(), tokens_.rbegin() + lengths[0]);
    tokens.insert(tokens.end(), tokens_.begin() + done, tokens_.begin() + done + lengths[1]);
    std::vector<std::int64_t> rows;
    for (std::int64_t i = 0; i < lengths[1]; ++i) rows.push_back(lengths[0] + i);
    if (lengths[0] == 0) {
      sequences.erase(sequences.begin());
      lengths.erase(lengths.begin());
    }
    std::vector<float> logits(rows.size() * static_cast<std::size_t>(model_.config().vocab_size));
    model_.forward({.tokens = tokens,
                    .sequences = sequences,
                    .lengths = lengths,
                    .positions = {},
                    .logit_rows = rows},
                   cache, logits, context);
    return logits;
  }

  Model& model_;
  DType kv_;
  std::vector<std::int32_t> tokens_;
};

void write_text(const std::vector<Row>& rows, Console& console) {
  for (const Row& row : rows) {
    char line[128];
    std::snprintf(line, sizeof line, "%-44s %s  %s\n", row.how.c_str(), hex(row.hash).c_str(),
                  &row == rows.data() ? ""
                  : row.equal         ? "ok"
                                      : "FAILED");
    std::string text = line;
    text.erase(text.find_last_not_of(" \n") + 1);
    console.out() << text << '\n';
  }
}

void write_json(const std::vector<Row>& rows, bool equal, Console& console) {
  auto list = nlohmann::ordered_json::array();
  for (const Row& row : rows) {
    list.push_back({{"how", row.how}, {"hash", hex(row.hash)}, {"equal", row.equal}});
  }
  console.out() << nlohmann::ordered_json{{"equal", equal}, {"runs", list}}.dump() << '\n';
}

int run(const Options& options, Console& console) {
  const InterruptGuard guard;
  LoadedModel loaded = load(options.model, console);
  const std::int64_t n = options.tokens;
  check_context(*loaded.model, n, "check");
  Checker checker(*loaded.model, loaded.kv, n);
  ProgressBar bar(console, "computing");
  ExecutionContext one(1);
  const int threads = std::max(2, loaded.context->threads());
  ExecutionContext many(threads);
  std::vector<Row> rows;
  const auto add = [&](std::string how, ExecutionContext& context, const Way& way) {
    const std::uint64_t hash = checker.run(context, way, [&](double done) {
      bar.update((static_cast<double>(rows.size()) + done) / 7);
    });
    const bool equal = rows.empty() || hash == rows.front().hash;
    rows.push_back({std::move(how), hash, equal});
  };
  const std::int64_t large = std::min(n, kMostAtOnce);
  add(n == large ? "1 thread, the prompt at once"
                 : "1 thread, the prompt in chunks of " + std::to_string(large) + " tokens",
      one, {.chunk = large});
  add(std::to_string(threads) + " threads", many, {.chunk = large});
  add("64 threads", *std::make_unique<ExecutionContext>(64), {.chunk = large});
  add("the prompt in chunks of 7 tokens", many, {.chunk = 7});
  add("token by token (decoding)", many, {.chunk = 1});
  const std::int64_t beside = std::min<std::int64_t>(n, 29);
  add("beside another sequence", many, {.chunk = large, .beside = beside});
  add("beside another in a paged cache, in chunks", many,
      {.chunk = 50, .beside = beside, .paged = true});
  bar.clear();
  const bool equal = std::all_of(rows.begin(), rows.end(), [](const Row& r) { return r.equal; });
  if (options.json) {
    write_json(rows, equal, console);
  } else {
    write_text(rows, console);
  }
  return equal ? kExitFine : kExitFailed;
}

}  // namespace

void add_check(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("check",
                                         "Show that the bits do not depend on threads "
                                         "or chunks");
  add_model_options(*command, options->model);
  command->add_option("--tokens", options->tokens, "Length of the prompt")
      ->check(whole_number(2, 1 << 24))
      ->type_name("N")
      ->capture_default_str();
  add_number_options(*command, options->model);
  command->add_flag("--json", options->json, "Write one JSON object");
  command->footer(
      "Computes the logits of each token of a prompt in several ways and compares hashes of their\n"
      "bits. Exit code 1 where any differs.\n"
      "Example:\n"
      "  raptly check model.gguf");
  command->callback([options, &action] {
    action = [options](Console& console) { return run(*options, console); };
  });
}

}  // namespace raptly
