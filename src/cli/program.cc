#include "cli/program.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <csignal>
#include <exception>
#include <new>

#include "raptly/error.h"
#include "raptly/execution.h"

namespace raptly {
namespace {

constexpr const char* kDescription =
    "raptly: the attention engine for CPUs. It runs language models from GGUF files and Hugging "
    "Face directories.";

constexpr const char* kExamples =
    "Examples:\n"
    "  raptly run model.gguf -p \"The capital of France is\"   go on with a text\n"
    "  raptly chat model.gguf                               talk to a model, turn by turn\n"
    "  raptly inspect model.gguf                            what is in the file\n"
    "  raptly bench model model.gguf                        how fast it runs here\n"
    "  raptly mask 'causal & window(256, 0)'                draw a mask and its cost\n"
    "\n"
    "\"raptly COMMAND --help\" tells more about a command.\n"
    "Exit codes: 0 fine, 1 failed, 2 wrong use, 130 interrupted (Ctrl-C).";

void set_up_log(bool verbose) {
  auto log = spdlog::stderr_logger_st("raptly");
  log->set_pattern("raptly: %v");
  log->set_level(verbose ? spdlog::level::debug : spdlog::level::warn);
  spdlog::set_default_logger(log);
}

// The help that was asked for, or one line on what was wrong.
int explain_parse_error(const CLI::App& app, const CLI::ParseError& error, Console& console) {
  if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) {
    const auto* version = dynamic_cast<const CLI::CallForVersion*>(&error);
    console.out() << (version ? std::string(error.what()) + "\n" : app.help());
    console.flush();
    return kExitFine;
  }
  const auto chosen = app.get_subcommands();
  if (chosen.empty() && !app.remaining().empty()) {
    console.complain("there is no command '" + app.remaining().front() +
                     "'. \"raptly --help\" lists them.");
    return kExitWrongUse;
  }
  std::string command = "raptly";
  const CLI::App* last = &app;
  while (!last->get_subcommands().empty()) {
    last = last->get_subcommands().front();
    command += " " + last->get_name();
  }
  // "raptly bench foo": the word is nobody's, and stands before what is missing.
  for (const CLI::App* at : {last, &app}) {
    const std::vector<std::string> left = at->remaining();
    if (dynamic_cast<const CLI::RequiredError*>(&error) == nullptr || left.empty() ||
        left.front().starts_with('-') || last->get_subcommands(nullptr).empty()) {
      continue;
    }
    console.complain("there is no \"" + command + ' ' + left.front() + "\". See \"" + command +
                     " --help\".");
    return kExitWrongUse;
  }
  std::string what = error.what();
  if (what == "A subcommand is required") what = "\"" + command + "\" wants one more word";
  if (!what.ends_with('.')) what += '.';
  console.complain(what + " See \"" + command + " --help\".");
  return kExitWrongUse;
}

int run(const Action& action, Console& console) {
  try {
    const int code = action(console);
    console.flush();
    return code;
  } catch (const Error&) {
    if (!console.out()) console.flush();  // the system's reason, or that the reader is gone
    throw;
  }
}

int guarded(const Action& action, Console& console) {
  try {
    return run(action, console);
  } catch (const WrongUse& e) {
    console.complain(e.message);
    return kExitWrongUse;
  } catch (const Console::Closed&) {
    return kExitFailed;
  } catch (const Interrupted&) {
    return kExitInterrupted;
  } catch (const Error& e) {
    console.complain(e.what());
    return e.code() == ErrorCode::kInvalidArgument ? kExitWrongUse : kExitFailed;
  } catch (const std::bad_alloc&) {
    console.complain("[cli] not enough memory.");
  } catch (const std::exception& e) {
    console.complain(std::string("[cli] ") + e.what());
  }
  return kExitFailed;
}

}  // namespace

int run_program(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);  // a closed pipe is an error of write()
  Console console;
  CLI::App app(kDescription, "raptly");
  app.footer(kExamples);
  app.set_version_flag("--version", std::string("raptly ") + RAPTLY_VERSION);
  app.require_subcommand(1);
  app.get_formatter()->column_width(34);
  bool verbose = false;
  app.add_flag("-v,--verbose", verbose, "Say on stderr what is being done");
  app.fallthrough();
  Action action;
  add_run(app, action);
  add_chat(app, action);
  add_tokenize(app, action);
  add_logits(app, action);
  add_perplexity(app, action);
  add_inspect(app, action);
  add_bench(app, action);
  add_mask(app, action);
  add_check(app, action);
  add_probe(app, action);
  if (argc < 2) {
    console.say(app.help());
    return kExitWrongUse;
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return guarded([&](Console& c) { return explain_parse_error(app, error, c); }, console);
  }
  set_up_log(verbose);
  return guarded(
      [&](Console& c) {
        supported_isas();  // throws where RAPTLY_MAX_ISA is no level, before any work
        return action(c);
      },
      console);
}

}  // namespace raptly
