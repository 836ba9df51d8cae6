// `raptly chat` as its users meet it: through a pipe, and at a terminal.
#include <gtest/gtest.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <sstream>

#include "cli/test_program.h"

namespace raptly::test {
namespace {

using nlohmann::json;

const std::string kModel = tiny_model("quantized.gguf");  // a chat template, 256 tokens

ProgramRun chat(const std::vector<std::string>& more, const std::string& input) {
  std::vector<std::string> arguments = {"chat", kModel};
  arguments.insert(arguments.end(), more.begin(), more.end());
  ProgramInput given;
  given.standard_input = input;
  return run_program(arguments, given);
}

std::string repeat(const std::string& text, int n) {
  std::string out;
  for (int i = 0; i < n; ++i) out += text;
  return out;
}

// The program at a terminal of its own.
class Terminal {
 public:
  explicit Terminal(std::vector<std::string> arguments) {
    child_ = forkpty(&master_, nullptr, nullptr, nullptr);
    if (child_ != 0) return;
    setenv("TERM", "dumb", 1);
    arguments.insert(arguments.begin(), std::string(RAPTLY_BINARY_DIR) + "/raptly");
    std::vector<char*> argv;
    for (std::string& a : arguments) argv.push_back(a.data());
    argv.push_back(nullptr);
    execv(argv[0], argv.data());
    _exit(127);
  }
  ~Terminal() { close(master_); }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  // Everything up to `text`, or all there is.
  std::string read_to(const std::string& text) {
    std::string seen;
    for (char c = 0; !seen.ends_with(text) && read(master_, &c, 1) == 1;) seen += c;
    return seen;
  }
  std::string read_rest() {
    std::string seen;
    for (char c = 0; read(master_, &c, 1) == 1;) seen += c;
    return seen;
  }
  void type(const std::string& text) {
    EXPECT_EQ(write(master_, text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  int wait() const {
    int status = 0;
    waitpid(child_, &status, 0);
    return status;
  }

 private:
  int master_ = -1;
  pid_t child_ = -1;
};

TEST(Chat, TakesTurnsFromItsInput) {
  const ProgramRun run = run_program({"chat", kModel, "-n", "6", "--json"},
                                     {"the in\n\nthe an\n/reset\nthe in\n", "", {}, false, false});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(run.err, "");
  std::istringstream lines(run.out);
  std::vector<json> turns;
  for (std::string line; std::getline(lines, line);) turns.push_back(json::parse(line));
  ASSERT_EQ(turns.size(), 3u);
  EXPECT_EQ(turns[0]["tokens"], turns[2]["tokens"]);  // /reset: as if nothing had been said
  // What was said before is in the cache and not read again.
  EXPECT_LT(turns[1]["prompt_tokens"], 40);
  const ProgramRun once = run_program({"chat", kModel, "-n", "6", "--json", "-p", "the in"});
  EXPECT_EQ(json::parse(once.out)["tokens"], turns[0]["tokens"]);
}

TEST(Chat, GoesOnAfterATurnThatDoesNotFit) {
  const ProgramRun run = run_program({"chat", kModel, "-n", "4"},
                                     {repeat("ab", 200) + "\nthe\n", "", {}, false, false});
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_NE(run.err.find("context of 256"), std::string::npos) << run.err;
  EXPECT_NE(run.out, "");
}

TEST(Chat, WantsSomethingToSay) {
  expect_failure(chat({"-p", ""}, ""), 2, "prompt is empty");
  expect_failure(chat({"-p", "-"}, ""), 2, "prompt is empty");
  expect_failure(chat({"-p", "-"}, " \n"), 2, "prompt is empty");
  ProgramInput closed;
  closed.close_input = true;
  expect_failure(run_program({"chat", kModel}, closed), 1, "standard input could not be read");
  expect_failure(run_program({"chat", kModel, "-p", "-"}, closed), 1,
                 "standard input could not be read");
  EXPECT_EQ(run_program({"chat", kModel, "-p", "a", "-n", "1"}, closed).exit_code, 0);
}

TEST(Chat, TakesCommandsAndNamesThoseThatAreNone) {
  const ProgramRun run = chat({"-n", "3", "--json"}, "the\n \t/reset \nthe\n /exit\t\nthe\n");
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(std::count(run.out.begin(), run.out.end(), '\n'), 2) << run.out;
  const ProgramRun unknown = chat({"-n", "3"}, "/help me\n");
  expect_failure(unknown, 1,
                 "there is no command /help me. There are /reset (start anew) and /exit.");
  const ProgramRun path = chat({"-n", "3"}, "/usr/bin is what?\n/\n");
  EXPECT_EQ(path.exit_code, 0) << path.err;
}

TEST(Chat, SaysWhoseContextIsFullAndWhatHelps) {
  expect_failure(
      chat({"--context", "60", "-p", repeat("ab", 100)}, ""), 1,
      "more than the context of 60. Shorten it, or give a larger --context (up to 256).");
  const ProgramRun run = chat({"--context", "60", "-n", "100"}, "the\n" + repeat("ab", 40) + "\n");
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_NE(run.err.find("the context of 60. /reset starts anew, or give a larger --context"),
            std::string::npos)
      << run.err;
}

TEST(Chat, CtrlCWhereAMessageIsAwaitedLeavesOnALineOfItsOwn) {
  Terminal terminal({"chat", kModel, "-n", "3"});
  const std::string greeting = terminal.read_to("> ");
  EXPECT_NE(greeting.find("/exit"), std::string::npos);
  terminal.type("\x03");
  const std::string rest = terminal.read_rest();
  EXPECT_TRUE(rest.ends_with("\n")) << rest;
  const int status = terminal.wait();
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 130);
}

}  // namespace
}  // namespace raptly::test
