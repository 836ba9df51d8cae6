// `raptly`, the program: commands, exit codes, what goes where.
//
// Data goes to stdout; text for people, progress and errors to stderr. Exit codes: 0 fine, 1
// failed, 2 wrong use, 130 interrupted. An error is one line, "raptly: [where] what. What is
// allowed." A pipe that its reader has closed ends the program quietly with 1.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "cli/console.h"

namespace raptly {

inline constexpr int kExitFine = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitWrongUse = 2;
inline constexpr int kExitInterrupted = 130;

// Options or arguments that do not go together.
struct WrongUse {
  std::string message;
};

// What the chosen command does; returns the exit code.
using Action = std::function<int(Console&)>;

// One function a command: adds its subcommand, which sets `action` when it is chosen.
void add_run(CLI::App& app, Action& action);
void add_chat(CLI::App& app, Action& action);
void add_tokenize(CLI::App& app, Action& action);
void add_logits(CLI::App& app, Action& action);
void add_perplexity(CLI::App& app, Action& action);
void add_inspect(CLI::App& app, Action& action);
void add_bench(CLI::App& app, Action& action);
void add_mask(CLI::App& app, Action& action);
void add_probe(CLI::App& app, Action& action);
void add_check(CLI::App& app, Action& action);

int run_program(int argc, char** argv);

}  // namespace raptly
