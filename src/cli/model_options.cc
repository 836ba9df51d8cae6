#include "cli/model_options.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <system_error>

#include "cli/option_checks.h"
#include "cli/program.h"
#include "raptly/error.h"

namespace raptly {
namespace {

DType kv_dtype(const ModelOptions& options) {
  if (options.exact && !options.kv.empty() && options.kv != "f32") {
    throw WrongUse{"[cli] --exact keeps keys and values in f32, --kv asks for " + options.kv +
                   ". Leave one of them out."};
  }
  if (options.kv == "int8") {
    throw WrongUse{"[cli] --kv int8 is not in this version. There are: f32, bf16, f16."};
  }
  if (options.exact || options.kv == "f32") return DType::kF32;
  if (options.kv == "bf16") return DType::kBf16;
  if (options.kv.empty() || options.kv == "f16") return DType::kF16;
  throw WrongUse{"[cli] --kv is '" + options.kv + "'. There are: f32, bf16, f16."};
}

}  // namespace

void add_threads_option(CLI::App& command, int& threads) {
  command.add_option("-t,--threads", threads, "Threads; 0: one for each core that may be used")
      ->check(whole_number(0, 1024))
      ->type_name("N")
      ->capture_default_str();
}

void add_idle_threads_option(CLI::App& command) {
  command
      .add_option_function<int>(
          "-t,--threads", [](int) {}, "Taken as everywhere; one does the work")
      ->check(whole_number(0, 1024))
      ->type_name("N");
}

void add_model_options(CLI::App& command, ModelOptions& options) {
  command.add_option("model", options.path, "A .gguf file or a Hugging Face model directory")
      ->required()
      ->type_name("PATH");
  add_threads_option(command, options.threads);
}

void add_number_options(CLI::App& command, ModelOptions& options) {
  command.add_flag("--exact", options.exact,
                   "Activations and cache in f32: slower, equal to a reference in f32");
  command.add_option("--kv", options.kv, "How keys and values are stored (default f16)")
      ->type_name("f32|bf16|f16");
}

LoadedModel load(const ModelOptions& options, Console& console) {
  LoadedModel loaded;
  loaded.kv = kv_dtype(options);
  loaded.context = std::make_unique<ExecutionContext>(options.threads);
  const auto start = std::chrono::steady_clock::now();
  ProgressBar bar(console, "loading");
  const LoadOptions load_options{.exact = options.exact, .progress = [&](double done) {
                                   if (InterruptGuard::interrupted()) throw Interrupted{};
                                   bar.update(done);
                                 }};
  loaded.model = load_model(options.path, load_options, *loaded.context);
  bar.clear();
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
  const ModelConfig& c = loaded.model->config();
  spdlog::info(
      "{} ({}), {} layers, {} tokens of context, {:.0f} MiB of weights, loaded in {:.2f} s",
      c.name.empty() ? options.path : c.name, c.architecture, c.n_layers, c.max_positions,
      static_cast<double>(loaded.model->weight_bytes()) / (1024 * 1024), time.count());
  spdlog::info("{} threads, {}", loaded.context->threads(), isa_name(loaded.context->isa()));
  return loaded;
}

void add_generate_options(CLI::App& command, GenerateOptions& options) {
  SamplingOptions& s = options.sampling;
  const auto number = [&](const char* name, auto& value, const char* help) {
    return command.add_option(name, value, help)->capture_default_str();
  };
  number("-n,--tokens", options.max_tokens, "Tokens to write at most")
      ->check(whole_number(0, std::int64_t{1} << 31))
      ->type_name("N");
  number("--temp", s.temperature, "Temperature; 0: always the likeliest token")
      ->check(real_number(0, 100))
      ->type_name("T");
  number("--top-k", s.top_k, "Choose among the K likeliest tokens; 0: off")
      ->check(whole_number(0, std::int64_t{1} << 31))
      ->type_name("K");
  number("--top-p", s.top_p, "Choose among tokens that sum up to probability P; 1: off")
      ->check(real_number(0, 1, LowEnd::kExcluded))
      ->type_name("P");
  number("--min-p", s.min_p, "Drop tokens below M times the likeliest one's probability; 0: off")
      ->check(real_number(0, 1))
      ->type_name("M");
  number("--repeat-penalty", s.repeat_penalty, "Make tokens that were seen less likely; 1: off")
      ->check(real_number(0.01, 100))
      ->type_name("R");
  number("--seed", s.seed,
         "Seed of the random choice, 0 unless given: the same seed gives the same text")
      ->check(seed_number())
      ->type_name("S");
  command.add_option("--stop", options.stop, "Stop before this text; may be given several times")
      ->type_name("TEXT")
      ->allow_extra_args(false);
}

void check_context(const Model& model, std::int64_t n, std::string_view where) {
  const std::int64_t trained = model.config().max_positions;
  if (trained <= 0 || n <= trained) return;
  throw Error(ErrorCode::kContextFull, "[" + std::string(where) + "] " + std::to_string(n) +
                                           " tokens were given. The model's context has " +
                                           std::to_string(trained) + ".");
}

std::int64_t cache_capacity(const Model& model, std::int64_t wanted) {
  const std::int64_t trained = model.config().max_positions;
  return std::max<std::int64_t>(1, trained > 0 ? std::min(trained, wanted) : wanted);
}

std::string read_file_or_stdin(const std::string& path) {
  const bool in = path == "-";
  const std::string name = in ? "standard input" : path;
  std::FILE* file = in ? stdin : std::fopen(path.c_str(), "rb");
  const auto fail = [&](int error) {
    throw Error(
        error == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo,
        "[cli] " + name + " could not be read: " + std::generic_category().message(error) + ".");
  };
  if (file == nullptr) fail(errno);
  std::string bytes;
  char chunk[1 << 16];
  errno = 0;
  for (std::size_t n; (n = std::fread(chunk, 1, sizeof chunk, file)) > 0;) bytes.append(chunk, n);
  const int error = std::ferror(file) != 0 ? errno : 0;
  if (!in) std::fclose(file);
  if (error != 0) fail(error);
  return bytes;
}

std::vector<std::int32_t> parse_token_ids(std::string_view text) {
  const std::string given(text);
  std::vector<std::int32_t> ids;
  const auto fail = [&] {
    throw WrongUse{"[cli] the token ids are '" + given + "'. Write them as 1,2,3 or [1, 2, 3]."};
  };
  const auto skip_space = [&] {
    while (!text.empty() && (text[0] == ' ' || text[0] == '\n')) text.remove_prefix(1);
  };
  skip_space();
  const bool brackets = text.starts_with('[');
  if (brackets) text.remove_prefix(1);
  for (;;) {
    skip_space();
    std::int32_t id = 0;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), id);
    if (read.ec != std::errc() || id < 0) fail();
    ids.push_back(id);
    text.remove_prefix(static_cast<std::size_t>(read.ptr - text.data()));
    skip_space();
    if (!text.starts_with(',')) break;
    text.remove_prefix(1);
  }
  if (brackets && text.starts_with(']')) {
    text.remove_prefix(1);
  } else if (brackets) {
    fail();
  }
  skip_space();
  if (!text.empty()) fail();
  return ids;
}

double per_second(std::int64_t n, double seconds) {
  return seconds > 0 ? static_cast<double>(n) / seconds : 0;
}

}  // namespace raptly
