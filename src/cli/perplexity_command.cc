#include <nlohmann/json.hpp>

#include "cli/model_options.h"
#include "cli/program.h"
#include "generate/perplexity.h"
#include "raptly/error.h"
#include "raptly/tokenizer.h"

namespace raptly {
namespace {

struct Options {
  ModelOptions model;
  std::string file;
  bool json = false;
};

int run(const Options& options, Console& console) {
  const InterruptGuard guard;
  const std::string text = read_file_or_stdin(options.file);
  LoadedModel loaded = load(options.model, console);
  const std::vector<TokenId> tokens = loaded.model->tokenizer().encode(text);
  if (tokens.size() < 2) {
    throw Error(ErrorCode::kNotSupported, "[perplexity] the text has " +
                                              std::to_string(tokens.size()) +
                                              " tokens. It needs at least 2.");
  }
  ProgressBar bar(console, "reading the text");
  PerplexityOptions perplexity_options;
  perplexity_options.kv_dtype = loaded.kv;
  perplexity_options.progress = [&](std::int64_t done, std::int64_t total) {
    if (InterruptGuard::interrupted()) throw Interrupted{};
    bar.update(static_cast<double>(done) / static_cast<double>(total));
  };
  const PerplexityResult result =
      perplexity(*loaded.model, tokens, perplexity_options, *loaded.context);
  bar.clear();
  console.out() << nlohmann::ordered_json{{"nll", result.nll},
                                          {"tokens", result.tokens},
                                          {"perplexity", result.perplexity}}
                       .dump()
                << '\n';
  return kExitFine;
}

}  // namespace

void add_perplexity(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("perplexity", "How well a model predicts a text");
  add_model_options(*command, options->model);
  command->add_option("file", options->file, "The text; -: stdin")->required()->type_name("FILE");
  add_number_options(*command, options->model);
  command->add_flag("--json", options->json, "The result is JSON with and without this");
  command->footer(
      "The text is cut into windows of 1,024 tokens that share nothing; the first token of each "
      "is\n"
      "not scored. Writes {\"nll\": mean -log p of a token, \"tokens\": how many were scored,\n"
      "\"perplexity\": exp(nll)}.\n"
      "Example:\n"
      "  raptly perplexity model.gguf book.txt");
  command->callback([options, &action] {
    action = [options](Console& console) { return run(*options, console); };
  });
}

}  // namespace raptly
