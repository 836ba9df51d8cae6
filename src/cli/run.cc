// `raptly run`: goes on with a text.
#include "cli/model_cache.h"
#include "cli/model_options.h"
#include "cli/program.h"
#include "cli/reply.h"
#include "raptly/tokenizer.h"

namespace raptly {
namespace {

struct RunOptions {
  ModelOptions model;
  CacheOptions cache;
  GenerateOptions generate;
  std::string prompt;
  bool special = false;
  bool json = false;
};

int run(const RunOptions& options, Console& console) {
  const InterruptGuard guard;
  check_cache_options(options.cache);
  const std::string text = options.prompt == "-" ? read_file_or_stdin("-") : options.prompt;
  LoadedModel loaded = load(options.model, console);
  const auto specials = options.special ? SpecialTokens::kParse : SpecialTokens::kText;
  const std::vector<TokenId> prompt = loaded.model->tokenizer().encode(text, specials, true);
  if (prompt.empty()) throw WrongUse{"[cli] the prompt is empty. Give -p some text."};
  const auto n_prompt = static_cast<std::int64_t>(prompt.size());
  const std::unique_ptr<KvCache> cache =
      make_cache(options.cache, loaded, n_prompt + options.generate.max_tokens, true);
  const Reply r = reply(loaded, {*cache, cache->add_sequence()}, prompt, options.generate,
                        options.json, console);
  if (options.json) {
    console.out() << reply_json(r).dump() << '\n';
  } else if (!r.result.text.ends_with('\n')) {
    console.out() << '\n';
  }
  console.flush();
  if (console.talks()) console.say(console.dim(reply_summary(r)));
  return r.result.finish_reason == FinishReason::kInterrupted ? kExitInterrupted : kExitFine;
}

}  // namespace

void add_run(CLI::App& app, Action& action) {
  auto options = std::make_shared<RunOptions>();
  CLI::App* command = app.add_subcommand("run", "Go on with a text");
  add_model_options(*command, options->model);
  command
      ->add_option("-p,--prompt", options->prompt,
                   "The text to go on with; -: stdin, its last newline too")
      ->required()
      ->type_name("TEXT");
  add_generate_options(*command, options->generate);
  add_number_options(*command, options->model);
  add_cache_options(*command, options->cache);
  command->add_flag("--special", options->special,
                    "\"<|im_start|>\" and the like in the prompt are special tokens");
  command->add_flag("--json", options->json, "Write one JSON object when done");
  command->footer(
      "The text goes to stdout as it comes. Ctrl-C ends it and keeps what was written; while the\n"
      "model loads there is nothing to keep, and nothing is written with --json either.\n"
      "--json: \"tokens\" has every token that was generated, those too whose text --stop cut.\n"
      "Examples:\n"
      "  raptly run model.gguf -p \"Once upon a time\" -n 100\n"
      "  raptly run model.gguf -p \"Ideas:\" --temp 0.8 --top-p 0.95 --seed 7\n"
      "  git log -5 | raptly run model.gguf -p - --json");
  command->callback([options, &action] {
    action = [options](Console& console) { return run(*options, console); };
  });
}

}  // namespace raptly
