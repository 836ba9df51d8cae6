// What test_program.h promises; the tests of the commands use it.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>

#include "cli/test_program.h"

namespace raptly::test {
namespace {

struct Pipe {
  int read = -1;
  int write = -1;
  Pipe() {
    std::array<int, 2> ends{};
    EXPECT_EQ(pipe2(ends.data(), O_CLOEXEC), 0);
    read = ends[0];
    write = ends[1];
  }
  ~Pipe() {
    close_end(read);
    close_end(write);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  static void close_end(int& end) {
    if (end >= 0) close(end);
    end = -1;
  }
};

[[noreturn]] void become(const std::vector<std::string>& arguments, const ProgramInput& input,
                         const Pipe& in, const Pipe& out, const Pipe& err) {
  if (input.close_input) {
    close(0);
  } else {
    dup2(in.read, 0);
  }
  dup2(input.output_path.empty() ? out.write : open(input.output_path.c_str(), O_WRONLY), 1);
  dup2(err.write, 2);
  std::signal(SIGINT, SIG_DFL);
  std::vector<char*> argv;
  std::string program = std::string(RAPTLY_BINARY_DIR) + "/raptly";
  argv.push_back(program.data());
  for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  for (const std::string& e : input.environment) putenv(const_cast<char*>(e.c_str()));
  execv(program.c_str(), argv.data());
  _exit(127);
}

// Takes what has come; false at the end.
bool take(int& end, std::string& into) {
  std::array<char, 4096> buffer{};
  const ssize_t n = read(end, buffer.data(), buffer.size());
  if (n > 0) into.append(buffer.data(), static_cast<std::size_t>(n));
  if (n <= 0) Pipe::close_end(end);
  return n > 0;
}

void feed(Pipe& in, std::string_view& left) {
  const ssize_t n = write(in.write, left.data(), left.size());
  if (n > 0) left.remove_prefix(static_cast<std::size_t>(n));
  if (n <= 0 || left.empty()) Pipe::close_end(in.write);
}

}  // namespace

ProgramRun run_program(const std::vector<std::string>& arguments, const ProgramInput& input) {
  std::signal(SIGPIPE, SIG_IGN);
  Pipe in, out, err;
  if (input.close_output) Pipe::close_end(out.read);
  const pid_t child = fork();
  if (child == 0) become(arguments, input, in, out, err);
  Pipe::close_end(in.read);
  Pipe::close_end(out.write);
  Pipe::close_end(err.write);
  ProgramRun run;
  std::string_view left = input.standard_input;
  if (left.empty()) Pipe::close_end(in.write);
  bool interrupted = false;
  while (out.read >= 0 || err.read >= 0 || in.write >= 0) {
    std::array<pollfd, 3> waits{
        {{out.read, POLLIN, 0}, {err.read, POLLIN, 0}, {in.write, POLLOUT, 0}}};
    poll(waits.data(), waits.size(), -1);
    if (waits[0].revents != 0) take(out.read, run.out);
    if (waits[1].revents != 0) take(err.read, run.err);
    if (waits[2].revents != 0) feed(in, left);
    if (input.interrupt_at_first_output && !run.out.empty() && !std::exchange(interrupted, true)) {
      kill(child, SIGINT);
    }
  }
  int status = 0;
  waitpid(child, &status, 0);
  run.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return run;
}

void expect_failure(const ProgramRun& run, int exit_code, const std::string& part) {
  EXPECT_EQ(run.exit_code, exit_code) << run.err;
  EXPECT_EQ(run.out, "");
  EXPECT_EQ(run.err.rfind("raptly: ", 0), 0u) << run.err;
  EXPECT_NE(run.err.find(part), std::string::npos) << run.err;
  EXPECT_EQ(run.err.find('\n'), run.err.size() - 1) << run.err;
}

std::string tiny_model(const std::string& name) {
  return std::string(RAPTLY_SOURCE_DIR) + "/src/models/testdata/" + name;
}

TEST(ProgramUnderTest, TakesInputAndGivesBothOutputs) {
  const ProgramRun run =
      run_program({"tokenize", tiny_model("quantized.gguf"), "-"}, {"ab", "", {}, false, false});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(run.out.front(), '[');
  EXPECT_EQ(run.err, "");
}

}  // namespace raptly::test
