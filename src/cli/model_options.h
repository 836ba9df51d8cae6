// What the commands that run a model have in common: their options, and loading it.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cli/console.h"
#include "raptly/cache.h"
#include "raptly/dtype.h"
#include "raptly/execution.h"
#include "raptly/generate.h"
#include "raptly/model.h"

namespace raptly {

struct ModelOptions {
  std::string path;
  int threads = 0;  // 0: as many as the machine gives
  bool exact = false;
  std::string kv;  // empty: f16, with --exact f32
};

// MODEL, --threads
void add_model_options(CLI::App& command, ModelOptions& options);
// --exact, --kv
void add_number_options(CLI::App& command, ModelOptions& options);
void add_threads_option(CLI::App& command, int& threads);
// --threads for a command that needs but one: taken, as by every command, and without effect.
void add_idle_threads_option(CLI::App& command);

struct LoadedModel {
  std::unique_ptr<ExecutionContext> context;
  std::unique_ptr<Model> model;
  DType kv = DType::kF16;
};

// Throws WrongUse where options contradict each other, before anything is read; Interrupted when
// Ctrl-C came (an InterruptGuard has to be alive).
LoadedModel load(const ModelOptions& options, Console& console);

// -n, --temp, --top-k, --top-p, --min-p, --repeat-penalty, --seed, --stop
void add_generate_options(CLI::App& command, GenerateOptions& options);

// Throws kContextFull where `n` tokens are more than the model was trained for; `where` begins the
// message.
void check_context(const Model& model, std::int64_t n, std::string_view where);

// Tokens that a cache of `wanted` tokens may have: no more than the model was trained for.
std::int64_t cache_capacity(const Model& model, std::int64_t wanted);

// "-": all bytes of stdin; otherwise the file's. Throws kNotFound, kIo.
std::string read_file_or_stdin(const std::string& path);

// "1,2,3" or "[1, 2, 3]". Throws WrongUse.
std::vector<std::int32_t> parse_token_ids(std::string_view text);

// n / seconds, 0 for no time.
double per_second(std::int64_t n, double seconds);

}  // namespace raptly
