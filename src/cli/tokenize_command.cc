#include <iostream>

#include "cli/model_options.h"
#include "cli/program.h"
#include "cli/tokenize.h"
#include "formats/checkpoint.h"
#include "models/tokenizer_source.h"
#include "raptly/error.h"

namespace raptly {
namespace {

struct Options {
  std::string model;
  TokenizeOptions tokenize;
};

int run(const Options& options, Console& console) {
  const auto checkpoint = open_checkpoint(options.model);
  std::optional<TokenizerSpec> spec = tokenizer_spec(*checkpoint);
  if (!spec) {
    throw Error(ErrorCode::kNotFound, "[cli] " + options.model +
                                          " has no tokenizer. A GGUF file or a directory with "
                                          "tokenizer.json has one.");
  }
  const Tokenizer tokenizer(std::move(*spec));
  return tokenize_command(tokenizer, options.tokenize, std::cin, console.out());
}

}  // namespace

void add_tokenize(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("tokenize", "Turn text into token ids, or back");
  command
      ->add_option("model", options->model,
                   "A .gguf file or a Hugging Face directory with a tokenizer")
      ->required()
      ->type_name("PATH");
  command->add_option("text", options->tokenize.text, "The text; -: all bytes of stdin")
      ->required()
      ->type_name("TEXT");
  command->add_flag("--decode", options->tokenize.decode,
                    "The text is a JSON list of ids; write what they say");
  command->add_flag(
      "--special", options->tokenize.special,
      "With BOS as the model wants it; \"<|im_end|>\" and the like are special tokens");
  command->add_flag("--json", options->tokenize.json,
                    "Ids are a JSON list with and without this; with --decode: a JSON string");
  add_idle_threads_option(*command);
  command->footer(
      "Examples:\n"
      "  raptly tokenize model.gguf \"Hello world\"\n"
      "  raptly tokenize model.gguf - < README.md\n"
      "  raptly tokenize model.gguf --decode \"[19556, 905]\"");
  command->callback([options, &action] {
    action = [options](Console& console) { return run(*options, console); };
  });
}

}  // namespace raptly
