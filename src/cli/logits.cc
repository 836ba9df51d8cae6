// `raptly logits`: what the model says after each token of a prompt, as a .npy file.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/model_options.h"
#include "cli/npy_writer.h"
#include "cli/program.h"

namespace raptly {
namespace {

struct Options {
  ModelOptions model;
  std::string tokens;
  std::string output;
  bool json = false;
};

// What can be said before anything is computed.
void check_tokens(const Model& model, std::span<const std::int32_t> tokens) {
  check_context(model, static_cast<std::int64_t>(tokens.size()), "logits");
  const std::int64_t vocab = model.config().vocab_size;
  const auto bad = std::find_if(tokens.begin(), tokens.end(), [&](auto t) { return t >= vocab; });
  if (bad == tokens.end()) return;
  throw WrongUse{"[logits] token " + std::to_string(bad - tokens.begin()) + " is " +
                 std::to_string(*bad) + ". The vocabulary has ids 0 .. " +
                 std::to_string(vocab - 1) + "."};
}

void check_output(const Options& options, const Console& console) {
  if (options.output != "-") return;
  if (options.json) throw WrongUse{"[logits] --json and -o - both want stdout. Name a file."};
  if (console.shows()) {
    throw WrongUse{"[logits] -o - would write binary data to the terminal. Use a file or a pipe."};
  }
}

void compute(const Options& options, LoadedModel& loaded, std::span<const std::int32_t> tokens,
             Console& console) {
  Model& model = *loaded.model;
  const auto n = static_cast<std::int64_t>(tokens.size());
  ContiguousCache cache(model.cache_shape(loaded.kv), n);
  const SequenceId sequence = cache.add_sequence();
  const std::int64_t vocab = model.config().vocab_size;
  NpyWriter file(options.output, n, vocab);
  constexpr std::int64_t kChunk = 64;  // 12 MB of logits at a time for 49,152 tokens
  std::vector<float> logits;
  std::vector<std::int64_t> rows;
  ProgressBar bar(console, "computing");
  for (std::int64_t done = 0; done < n;) {
    if (InterruptGuard::interrupted()) throw Interrupted{};
    const std::int64_t length = std::min(kChunk, n - done);
    rows.resize(static_cast<std::size_t>(length));
    for (std::int64_t i = 0; i < length; ++i) rows[static_cast<std::size_t>(i)] = i;
    logits.resize(static_cast<std::size_t>(length * vocab));
    const auto part =
        tokens.subspan(static_cast<std::size_t>(done), static_cast<std::size_t>(length));
    model.forward({.tokens = part,
                   .sequences = {&sequence, 1},
                   .lengths = {&length, 1},
                   .positions = {},
                   .logit_rows = rows},
                  cache, logits, *loaded.context);
    file.write(logits);
    done += length;
    bar.update(static_cast<double>(done) / static_cast<double>(n));
  }
  file.finish();
}

int run(const Options& options, Console& console) {
  const InterruptGuard guard;
  const std::vector<std::int32_t> tokens = parse_token_ids(options.tokens);
  check_output(options, console);
  LoadedModel loaded = load(options.model, console);
  check_tokens(*loaded.model, tokens);
  compute(options, loaded, tokens, console);
  if (options.json) {
    console.out() << nlohmann::ordered_json{{"file", options.output},
                                            {"shape",
                                             {tokens.size(), loaded.model->config().vocab_size}},
                                            {"dtype", "f32"}}
                         .dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace)
                  << '\n';
  }
  return kExitFine;
}

}  // namespace

void add_logits(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("logits", "Write a model's logits to a .npy file");
  add_model_options(*command, options->model);
  command->add_option("--tokens", options->tokens, "Token ids: 1,2,3 or [1, 2, 3]")
      ->required()
      ->type_name("IDS");
  command
      ->add_option("-o,--output", options->output,
                   "The file, [tokens, vocabulary] in f32, NumPy's format; -: stdout")
      ->required()
      ->type_name("FILE");
  add_number_options(*command, options->model);
  command->add_flag("--json", options->json, "Say on stdout what was written: file, shape, dtype");
  command->footer(
      "Row i holds the logits of the token after the first i + 1.\n"
      "Example:\n"
      "  raptly logits model.gguf --tokens \"$(raptly tokenize model.gguf 'Hello')\" -o out.npy");
  command->callback([options, &action] {
    action = [options](Console& console) { return run(*options, console); };
  });
}

}  // namespace raptly
