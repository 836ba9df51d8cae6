// Runs the built program as a user does.
#pragma once

#include <string>
#include <vector>

namespace raptly::test {

struct ProgramRun {
  int exit_code = -1;  // 128 + n: ended by signal n
  std::string out;
  std::string err;
};

struct ProgramInput {
  std::string standard_input;
  std::string output_path;                 // stdout goes there instead of into `out`
  std::vector<std::string> environment;    // "NAME=value", added
  bool close_output = false;               // nobody reads stdout, from the start on
  bool interrupt_at_first_output = false;  // SIGINT when stdout has its first byte
  bool close_input = false;                // stdin is closed, as by <&-
};

ProgramRun run_program(const std::vector<std::string>& arguments, const ProgramInput& input = {});

// One line that starts with "raptly: " and holds `part`, nothing on stdout.
void expect_failure(const ProgramRun& run, int exit_code, const std::string& part);

// A tiny model (src/models/testdata).
std::string tiny_model(const std::string& name);

}  // namespace raptly::test
