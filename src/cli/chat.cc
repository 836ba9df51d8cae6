// `raptly chat`: a conversation, turn by turn.
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cstdio>
#include <ctime>
#include <iostream>

#include "cli/model_cache.h"
#include "cli/model_options.h"
#include "cli/option_checks.h"
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
  CacheOptions cache;
  GenerateOptions generate;
  bool once = false;  // one turn only, `prompt`; otherwise turns from stdin
  std::string prompt;
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
        cache_(make_cache(options.cache, loaded, options.context, false)),
        sequence_(cache_->add_sequence()) {
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
    check_room(static_cast<std::int64_t>(ids.size()));
    // What the cache has of this conversation stays, as far as it can go back; at least one token
    // is read anew for its logits.
    std::size_t kept = 0;
    while (kept < stored_.size() && kept + 1 < ids.size() && stored_[kept] == ids[kept]) ++kept;
    kept = static_cast<std::size_t>(
        cache_->rollback_point(sequence_, static_cast<std::int64_t>(kept)));
    cache_->truncate(sequence_, static_cast<std::int64_t>(kept));
    stored_.resize(kept);
    Reply r = reply(loaded_, {*cache_, sequence_}, std::span(ids).subspan(kept), options_.generate,
                    options_.json, console_);
    stored_ = ids;
    stored_.insert(stored_.end(), r.result.tokens.begin(), r.result.tokens.end());
    stored_.resize(std::min(stored_.size(), static_cast<std::size_t>(cache_->length(sequence_))));
    return r;
  }

  void check_room(std::int64_t n_tokens) const {
    const std::int64_t capacity = cache_->capacity(sequence_);
    if (n_tokens <= capacity) return;
    const bool first = messages_.size() <= (options_.system.empty() ? 1u : 2u);
    const std::int64_t trained = loaded_.model->config().max_positions;
    std::string text = first ? "[chat] the message comes to " : "[chat] the conversation comes to ";
    text += std::to_string(n_tokens) + " tokens, more than the context of " +
            std::to_string(capacity) + ". ";
    text += first ? "Shorten it" : "/reset starts anew";
    if (trained <= 0) text += ", or give a larger --context";
    if (trained > capacity) {
      text += ", or give a larger --context (up to " + std::to_string(trained) + ")";
    }
    throw Error(ErrorCode::kContextFull, text + ".");
  }

  const ChatOptions& options_;
  LoadedModel& loaded_;
  Console& console_;
  std::unique_ptr<KvCache> cache_;
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
  if (!console.talks()) return;
  std::string summary = reply_summary(r);
  if (r.result.finish_reason == FinishReason::kContext) summary += "; /reset starts anew";
  console.say(console.dim(summary));
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

// What a line of stdin is.
enum class Line { kMessage, kNothing, kReset, kExit, kUnknown, kEnd, kInterrupted };

// "/word" alone or before a space is a command; "/usr/bin is what?" is a message.
Line kind_of(const std::string& line) {
  const std::size_t begin = line.find_first_not_of(" \t\r");
  if (begin == std::string::npos) return Line::kNothing;
  const std::size_t end = line.find_last_not_of(" \t\r") + 1;
  const std::string said = line.substr(begin, end - begin);
  if (said == "/reset") return Line::kReset;
  if (said == "/exit") return Line::kExit;
  const std::string word = said.substr(0, said.find_first_of(" \t"));
  const bool command = word.size() > 1 && word[0] == '/' && word.find('/', 1) == std::string::npos;
  return command ? Line::kUnknown : Line::kMessage;
}

// Waits until the terminal has a line (it gives one a read, so none is buffered); false: Ctrl-C. In
// short steps, because a Ctrl-C just before a wait would not end it.
bool input_comes() {
  while (!InterruptGuard::interrupted()) {
    pollfd input{STDIN_FILENO, POLLIN, 0};
    if (poll(&input, 1, 100) > 0) return true;
  }
  return false;
}

// The prompt is written under the guard: a Ctrl-C that answers it at once is ours.
Line read_line(std::string& line, const char* prompt) {
  const InterruptGuard guard;
  if (prompt != nullptr) {
    std::cerr << prompt << std::flush;
    if (!input_comes()) return Line::kInterrupted;
  }
  if (std::getline(std::cin, line)) return kind_of(line);
  if (InterruptGuard::interrupted()) return Line::kInterrupted;
  if (std::ferror(stdin) == 0) return Line::kEnd;
  throw Error(ErrorCode::kIo, "[cli] standard input could not be read.");
}

void complain_of_command(const std::string& line, Console& console) {
  console.complain("[chat] there is no command " + line.substr(line.find('/')) +
                   ". There are /reset (start anew) and /exit.");
}

int talk(Conversation& conversation, bool json, Console& console) {
  const bool alone = !console.listens();  // turns come from a file or a pipe, one a line
  if (!alone)
    console.say(console.dim("/reset starts anew, /exit or Ctrl-D ends, Ctrl-C interrupts"));
  int code = kExitFine;
  for (;;) {
    const char* const prompt = alone ? nullptr : console.talks() ? "\n> " : "> ";
    std::string line;
    const Line kind = read_line(line, prompt);
    if (!alone && (kind == Line::kEnd || kind == Line::kInterrupted)) console.say("");
    if (kind == Line::kInterrupted) return kExitInterrupted;
    if (kind == Line::kEnd || kind == Line::kExit) return alone ? code : kExitFine;
    if (kind == Line::kReset) conversation.reset();
    if (kind == Line::kUnknown) {
      complain_of_command(line, console);
      code = kExitFailed;
    }
    if (kind != Line::kMessage) continue;
    const int turn = guarded_turn(conversation, line, json, console);
    if (turn != kExitFine) code = turn;
    if (alone && turn == kExitInterrupted) return code;
  }
}

// What -p says. Throws WrongUse where that is nothing, kIo where stdin cannot be read.
std::string text_to_say(const std::string& prompt) {
  std::string text = prompt == "-" ? read_file_or_stdin("-") : prompt;
  if (text.find_first_not_of(" \t\r\n") != std::string::npos) return text;
  throw WrongUse{"[cli] the prompt is empty. Give -p some text."};
}

int chat(const ChatOptions& options, Console& console) {
  check_cache_options(options.cache);
  const std::string text = options.once ? text_to_say(options.prompt) : "";
  if (!options.once && fcntl(STDIN_FILENO, F_GETFD) < 0) {
    throw Error(ErrorCode::kIo, "[cli] standard input could not be read: it is closed.");
  }
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
  return options.once ? guarded_turn(conversation, text, options.json, console)
                      : talk(conversation, options.json, console);
}

}  // namespace

void add_chat(CLI::App& app, Action& action) {
  auto options = std::make_shared<ChatOptions>();
  CLI::App* command = app.add_subcommand("chat", "Talk to a model, turn by turn");
  add_model_options(*command, options->model);
  CLI::Option* prompt =
      command
          ->add_option("-p,--prompt,--once", options->prompt,
                       "Say this and leave; -: all of stdin, its last newline too")
          ->type_name("TEXT");
  command->add_option("--system", options->system, "What the model is told about its part")
      ->type_name("TEXT");
  command
      ->add_option("--context", options->context,
                   "Tokens that the conversation may have, at most the model's")
      ->check(whole_number(1, std::int64_t{1} << 31))
      ->type_name("N")
      ->capture_default_str();
  add_generate_options(*command, options->generate);
  add_number_options(*command, options->model);
  add_cache_options(*command, options->cache);
  command->add_flag("--json", options->json, "Write one JSON object a turn");
  command->footer(
      "The model's own chat template makes the prompt. Without -p each line of stdin is a turn,\n"
      "without its newline; /reset starts anew, /exit or the end of input leaves. Ctrl-C ends an\n"
      "answer and keeps it; where a message is awaited it leaves. --json: \"tokens\" has every "
      "token\n"
      "that was generated, those too whose text --stop cut.\n"
      "Examples:\n"
      "  raptly chat model.gguf\n"
      "  raptly chat model.gguf --system \"Answer in one sentence.\" -p \"Why is the sky blue?\"");
  command->callback([options, prompt, &action] {
    options->once = prompt->count() > 0;
    action = [options](Console& console) { return chat(*options, console); };
  });
}

}  // namespace raptly
