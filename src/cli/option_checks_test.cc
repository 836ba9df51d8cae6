// Numbers on the command line: none that wraps, none that is cut short.
#include "cli/option_checks.h"

#include <gtest/gtest.h>

#include "cli/test_program.h"

namespace raptly {
namespace {

std::string said(const CLI::Validator& check, std::string given) { return check(given); }

TEST(OptionChecks, WholeNumbers) {
  const CLI::Validator check = whole_number(0, 1024);
  for (const char* good : {"0", "7", "1024"}) EXPECT_EQ(said(check, good), "") << good;
  for (const char* bad : {"abc", "", "-", "1.5", "1e3", "0x10", "5 ", "--1"}) {
    EXPECT_NE(said(check, bad).find("is not a whole number"), std::string::npos) << bad;
  }
  for (const char* bad : {"-1", "1025", "99999999999999999999999"}) {
    EXPECT_NE(said(check, bad).find("may be 0 to 1024"), std::string::npos) << bad;
  }
}

TEST(OptionChecks, Seeds) {
  const CLI::Validator check = seed_number();
  for (const char* good : {"0", "9223372036854775808", "18446744073709551615"}) {
    EXPECT_EQ(said(check, good), "") << good;
  }
  for (const char* bad : {"-1", "18446744073709551616", "99999999999999999999999"}) {
    EXPECT_NE(said(check, bad).find("out of range"), std::string::npos) << bad;
  }
}

TEST(OptionChecks, RealNumbers) {
  const CLI::Validator closed = real_number(0, 1), open = real_number(0, 1, LowEnd::kExcluded);
  for (const char* good : {"0.5", "1", "1e-3"}) {
    EXPECT_EQ(said(closed, good), "") << good;
    EXPECT_EQ(said(open, good), "") << good;
  }
  EXPECT_EQ(said(closed, "0"), "");
  EXPECT_NE(said(open, "0").find("may be 0 to 1, without 0"), std::string::npos);
  for (const char* bad : {"nan", "warm", "", "0.5x"}) {
    EXPECT_NE(said(closed, bad).find("is not a number"), std::string::npos) << bad;
  }
  for (const char* bad : {"-0.1", "1.01", "inf", "1e999"}) {
    EXPECT_NE(said(closed, bad).find("out of range"), std::string::npos) << bad;
  }
}

TEST(OptionChecks, OfTheProgram) {
  using test::expect_failure, test::run_program, test::tiny_model;
  const std::string model = tiny_model("quantized.gguf");
  const auto run = [&](const std::string& option, const std::string& value) {
    return run_program({"run", model, "-p", "a", option, value});
  };
  expect_failure(run("--seed", "-1"), 2, "--seed");
  expect_failure(run("--seed", "18446744073709551616"), 2, "--seed");
  expect_failure(run("-n", "abc"), 2, "'abc' is not a whole number");
  expect_failure(run("--top-p", "0"), 2, "without 0");
  expect_failure(run_program({"bench", "foo"}), 2, "there is no \"raptly bench foo\"");
  test::ProgramInput wrong_level;
  wrong_level.environment = {"RAPTLY_MAX_ISA=mmx"};
  for (const std::vector<std::string>& command :
       {std::vector<std::string>{"mask", "causal"}, {"inspect", model}, {"tokenize", model, "a"}}) {
    expect_failure(run_program(command, wrong_level), 2, "mmx");
  }
}

TEST(OptionChecks, ThreadsAndJsonAreTakenByEveryCommand) {
  using test::run_program, test::tiny_model;
  const std::string model = tiny_model("quantized.gguf");
  EXPECT_EQ(run_program({"tokenize", model, "the", "--json", "--threads", "2"}).out,
            run_program({"tokenize", model, "the"}).out);
  EXPECT_EQ(run_program({"tokenize", model, "--decode", "[104, 200, 10]", "--json"}).out,
            "\"h\xEF\xBF\xBD\\n\"\n");
  EXPECT_EQ(run_program({"inspect", model, "--json", "--threads", "2"}).exit_code, 0);
  EXPECT_EQ(run_program({"mask", "causal", "--q", "4", "--json", "--threads", "2"}).exit_code, 0);
}

TEST(OptionChecks, HelpListsWhatWorks) {
  using test::run_program;
  for (const std::string command : {"run", "chat", "logits", "perplexity", "check"}) {
    const std::string help = run_program({command, "--help"}).out;
    for (const char* absent : {"int8", ".safetensors"}) {
      EXPECT_EQ(help.find(absent), std::string::npos) << command << absent;
    }
    const bool chooses_cache = command == "run" || command == "chat";
    EXPECT_EQ(help.find("contiguous|rolling|paged") != std::string::npos, chooses_cache) << help;
    EXPECT_NE(help.find("f32|bf16|f16"), std::string::npos) << command;
  }
  const std::string help = run_program({"run", "--help"}).out;
  EXPECT_NE(help.find("(0 - 1]"), std::string::npos) << help;
}

}  // namespace
}  // namespace raptly
