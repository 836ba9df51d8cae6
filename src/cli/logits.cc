// `raptly logits`: what the model says after each token of a prompt, as a .npy file.
#include <algorithm>

#include "cli/model_options.h"
#include "cli/npy_writer.h"
#include "cli/program.h"

namespace raptly {
namespace {

struct Options {
  ModelOptions model;
  std::string tokens;
  std::string output;
};

int run(const Options& options, Console& console) {
  const InterruptGuard guard;
  const std::vector<std::int32_t> tokens = parse_token_ids(options.tokens);
  LoadedModel loaded = load(options.model, console);
  Model& model = *loaded.model;
  const auto n = static_cast<std::int64_t>(tokens.size());
  ContiguousCache cache(model.cache_shape(loaded.kv), cache_capacity(model, n));
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
        std::span(tokens).subspan(static_cast<std::size_t>(done), static_cast<std::size_t>(length));
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
                   "The file, [tokens, vocabulary] in f32, NumPy's format")
      ->required()
      ->type_name("FILE");
  add_number_options(*command, options->model);
  command->footer(
      "Row i holds the logits of the token after the first i + 1.\n"
      "Example:\n"
      "  raptly logits model.gguf --tokens \"$(raptly tokenize model.gguf 'Hello')\" -o out.npy");
  command->callback([options, &action] {
    action = [options](Console& console) { return run(*options, console); };
  });
}

}  // namespace raptly
