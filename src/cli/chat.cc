// `raptly chat`: a conversation, turn by turn.
#include <ctime>
#include <iostream>

#include "cli/model_options.h"
#include "cli/program.h"
#include "cli/reply.h"
#include "raptly/error.h"
#include "text/chat_prompt.h"

namespace raptly {
namespace {

// What a conversation's cache holds at most unless --context says otherwise: Llama 3's 128 Ki
// tokens would take 16 GiB.
constexpr std::int64_t kDefaultContext = 8192;

struct ChatOptions {
  ModelOptions model;
  GenerateOptions generate;
  std::string prompt;  // one turn only; empty: turns from stdin
  std::string system;
  std::int64_t context = kDefaultContext;
  bool json = false;
};

class Conversation {
 public:
  Conversation(const ChatOptions& options, LoadedModel& loaded, Console& console)
      : options_(options),
        loaded_(loaded),
        console_(console),
        cache_(loaded.model->cache_shape(loaded.kv),
               cache_capacity(*loaded.model, options.context)),
        sequence_(cache_.add_sequence()) {
    reset();
  }

  void reset() {
    messages_.clear();
    if (!options_.system.empty()) messages_.push_back({"system", options_.system});
  }

  // Says `text` and writes the answer. A failed turn is forgotten.
  Reply turn(const std::string& text) {
    const std::size_t before = messages_.size();
    messages_.push_back({"user", text});
    try {
      Reply r = answer();
      messages_.push_back({"assistant", r.result.text});
      return r;
    } catch (...) {
      messages_.resize(before);
      throw;
    }
  }

 private:
  Reply answer() {
    const std::time_t now = std::time(nullptr);
    std::tm date{};
    localtime_r(&now, &date);
    const std::vector<TokenId> ids =
        encode_chat(*loaded_.model->chat_template(), loaded_.model->tokenizer(), messages_,
                    {"", "", true, date});
    if (ids.empty()) throw Error(ErrorCode::kNotSupported, "[chat] the template wrote no text.");
    // What the cache has of this conversation stays; at least one token is read anew for its
    // logits.
    std::size_t kept = 0;
    while (kept < stored_.size() && kept + 1 < ids.size() && stored_[kept] == ids[kept]) ++kept;
    cache_.truncate(sequence_, static_cast<std::int64_t>(kept));
    stored_.resize(kept);
    Reply r = reply(loaded_, cache_, sequence_, std::span(ids).subspan(kept), options_.generate,
                    options_.json, console_);
    stored_ = ids;
    stored_.insert(stored_.end(), r.result.tokens.begin(), r.result.tokens.end());
    stored_.resize(std::min(stored_.size(), static_cast<std::size_t>(cache_.length(sequence_))));
    return r;
  }

  const ChatOptions& options_;
  LoadedModel& loaded_;
  Console& console_;
  ContiguousCache cache_;
  SequenceId sequence_;
  std::vector<TokenId> stored_;  // what the cache holds
  std::vector<ChatMessage> messages_;
};

void write_turn(const Reply& r, bool json, Console& console) {
  if (json) {
    console.out() << reply_json(r).dump() << '\n';
  } else if (!r.result.text.ends_with('\n')) {
    console.out() << '\n';
  }
  console.flush();
  if (console.talks()) console.say(console.dim(reply_summary(r)));
}

// One turn under Ctrl-C; the exit code. A template that refuses (roles that must alternate ...) or
// a prompt that does not fit fails the turn; it is no wrong use of the program.
int guarded_turn(Conversation& conversation, const std::string& text, bool json, Console& console) {
  const InterruptGuard guard;
  try {
    const Reply r = conversation.turn(text);
    write_turn(r, json, console);
    return r.result.finish_reason == FinishReason::kInterrupted ? kExitInterrupted : kExitFine;
  } catch (const Error& e) {
    console.complain(e.what());
    return kExitFailed;
  }
}

int talk(Conversation& conversation, bool json, Console& console) {
  const bool alone = !console.listens();  // turns come from a file or a pipe, one a line
  if (!alone)
    console.say(console.dim("/reset starts anew, /exit or Ctrl-D ends, Ctrl-C interrupts"));
  int code = kExitFine;
  std::string line;
  for (;;) {
    if (!alone) std::cerr << (console.talks() ? "\n> " : "> ") << std::flush;
    if (!std::getline(std::cin, line)) break;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    if (line == "/exit") break;
    if (line == "/reset") {
      conversation.reset();
      continue;
    }
    const int turn = guarded_turn(conversation, line, json, console);
    if (turn != kExitFine) code = turn;
    if (alone && turn == kExitInterrupted) break;
  }
  if (std::cin.bad()) throw Error(ErrorCode::kIo, "[cli] standard input could not be read.");
  if (!alone && std::cin.eof()) console.say("");
  return alone ? code : kExitFine;
}

int chat(const ChatOptions& options, Console& console) {
  LoadedModel loaded;
  {
    const InterruptGuard guard;
    loaded = load(options.model, console);
  }
  if (loaded.model->chat_template() == nullptr) {
    throw Error(ErrorCode::kNotSupported, "[chat] " + options.model.path +
                                              " has no chat template. \"raptly run\" goes on with "
                                              "any text.");
  }
  Conversation conversation(options, loaded, console);
  if (options.prompt.empty()) return talk(conversation, options.json, console);
  const std::string text = options.prompt == "-" ? read_file_or_stdin("-") : options.prompt;
  return guarded_turn(conversation, text, options.json, console);
}

}  // namespace

void add_chat(CLI::App& app, Action& action) {
  auto options = std::make_shared<ChatOptions>();
  CLI::App* command = app.add_subcommand("chat", "Talk to a model, turn by turn");
  add_model_options(*command, options->model);
  command->add_option("-p,--prompt,--once", options->prompt, "Say this and leave; -: read stdin")
      ->type_name("TEXT");
  command->add_option("--system", options->system, "What the model is told about its part")
      ->type_name("TEXT");
  command->add_option("--context", options->context, "Tokens that the conversation may have")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 31))
      ->type_name("N")
      ->capture_default_str();
  add_generate_options(*command, options->generate);
  add_number_options(*command, options->model);
  command->add_flag("--json", options->json, "Write one JSON object a turn");
  command->footer(
      "The model's own chat template makes the prompt. Without -p each line of stdin is a turn;\n"
      "/reset starts anew, /exit or the end of input leaves. Ctrl-C ends an answer and keeps it.\n"
      "Examples:\n"
      "  raptly chat model.gguf\n"
      "  raptly chat model.gguf --system \"Answer in one sentence.\" -p \"Why is the sky blue?\"");
  command->callback([options, &action] {
    action = [options](Console& console) { return chat(*options, console); };
  });
}

}  // namespace raptly
