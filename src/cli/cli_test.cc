// The program as its users and their scripts meet it: exit codes, one line for an error, what goes
// to which stream.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <array>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "cli/npy_writer.h"
#include "cli/test_program.h"

namespace raptly::test {
namespace {

using nlohmann::json;

const std::string kModel =
    tiny_model("quantized.gguf");  // byte tokens, a chat template, 256 tokens

std::string repeat(const std::string& text, int n) {
  std::string out;
  for (int i = 0; i < n; ++i) out += text;
  return out;
}

class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& name) : path(testing::TempDir() + "raptly_" + name) {}
  ~TemporaryFile() { std::remove(path.c_str()); }
  bool exists() const {
    struct stat info{};
    return stat(path.c_str(), &info) == 0;
  }
  const std::string path;
};

TEST(Cli, HelpIsForNewcomers) {
  const ProgramRun run = run_program({"--help"});
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_EQ(run.err, "");
  for (const std::string word : {"run", "chat", "tokenize", "logits", "perplexity", "inspect",
                                 "bench", "mask", "check", "probe", "Examples:", "Exit codes"}) {
    EXPECT_NE(run.out.find(word), std::string::npos) << word;
    if (word[0] >= 'a' && word != "bench") {
      const ProgramRun help = run_program({word, "--help"});
      EXPECT_EQ(help.exit_code, 0) << word;
      EXPECT_NE(help.out.find("Usage: raptly " + word), std::string::npos) << help.out;
    }
  }
}

TEST(Cli, Version) {
  const ProgramRun run = run_program({"--version"});
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_EQ(run.out, "raptly 0.1.0\n");
}

TEST(Cli, WrongUse) {
  EXPECT_EQ(run_program({}).exit_code, 2);
  EXPECT_NE(run_program({}).err.find("Examples:"), std::string::npos);  // the whole help
  expect_failure(run_program({"dance"}), 2, "no command 'dance'");
  expect_failure(run_program({"run"}), 2, "raptly run --help");
  expect_failure(run_program({"run", kModel}), 2, "--prompt");
  expect_failure(run_program({"run", kModel, "-p", "a", "--colour"}), 2, "--colour");
  expect_failure(run_program({"run", kModel, "-p", "a", "--temp", "warm"}), 2, "warm");
  expect_failure(run_program({"run", kModel, "-p", "a", "--temp", "-1"}), 2, "--temp");
  expect_failure(run_program({"run", kModel, "-p", "a", "--threads", "-1"}), 2, "--threads");
  expect_failure(run_program({"run", kModel, "-p", "a", "--kv", "f8"}), 2, "--kv");
  expect_failure(run_program({"run", kModel, "-p", ""}), 2, "prompt is empty");
  expect_failure(run_program({"run", kModel, "-p", "a", "--exact", "--kv", "f16"}), 2, "--exact");
  expect_failure(run_program({"logits", kModel, "--tokens", "1", "--exact", "--kv", "bf16", "-o",
                              "/dev/null"}),
                 2, "--exact");
  expect_failure(run_program({"run", kModel, "-p", "a", "--cache", "round"}), 2,
                 "--cache is 'round'. There are: contiguous, rolling, paged");
  expect_failure(run_program({"run", kModel, "-p", "a", "--cache", "paged", "--window", "8"}), 2,
                 "--window is for --cache rolling");
  expect_failure(run_program({"chat", kModel, "-p", "a", "--window", "8"}), 2,
                 "--window is for --cache rolling");
  expect_failure(run_program({"run", kModel, "-p", "a", "--cache", "rolling", "--window", "0"}), 2,
                 "--window");
  expect_failure(run_program({"run", kModel, "-p", "a", "--kv", "int8"}), 2, "f32, bf16, f16");
  expect_failure(run_program({"logits", kModel, "--tokens", "1,2"}), 2, "--output");
  expect_failure(run_program({"logits", kModel, "--tokens", "1,x", "-o", "/dev/null"}), 2, "1,x");
  expect_failure(run_program({"logits", kModel, "--tokens", "9999", "-o", "/dev/null"}), 2, "9999");
  expect_failure(run_program({"tokenize", kModel, "--decode", "hello"}), 2, "ids");
  expect_failure(run_program({"bench"}), 2, "bench");
  expect_failure(run_program({"bench", "attention", "--case", "nothing-like-it"}), 2,
                 "nothing-like-it");
  expect_failure(
      run_program({"run", kModel, "-p", "a"}, {"", "", {"RAPTLY_MAX_ISA=mmx"}, false, false}), 2,
      "mmx");
}

TEST(Cli, FilesThatAreNoModels) {
  expect_failure(run_program({"run", "/nowhere/model.gguf", "-p", "a"}), 1, "/nowhere/model.gguf");
  expect_failure(run_program({"inspect", "/nowhere/model.gguf"}), 1, "/nowhere/model.gguf");
  expect_failure(run_program({"perplexity", kModel, "/nowhere/text"}), 1, "/nowhere/text");
  const TemporaryFile file("not_a_model");
  std::ofstream(file.path) << "This is no model.";
  expect_failure(run_program({"run", file.path, "-p", "a"}), 1, file.path);
  const TemporaryFile empty("empty.gguf");
  std::ofstream(empty.path) << "";
  expect_failure(run_program({"inspect", empty.path}), 1, "is empty");
  // Weights without a tokenizer, and a model without a chat template.
  expect_failure(run_program({"tokenize", tiny_model("llama.gguf"), "a"}), 1, "tokenizer");
}

TEST(Cli, RunWritesTheTextAndNothingElse) {
  const std::vector<std::string> command = {"run", kModel, "-p", "the", "-n", "8"};
  const ProgramRun text = run_program(command);
  EXPECT_EQ(text.exit_code, 0);
  EXPECT_EQ(text.err, "");  // no bar, no figures: stderr is no terminal
  std::vector<std::string> as_json = command;
  as_json.push_back("--json");
  const ProgramRun run = run_program(as_json);
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(run.err, "");
  const json result = json::parse(run.out);
  EXPECT_EQ(result.size(), 6u);
  EXPECT_EQ(result["prompt_tokens"], 2);  // "t", "he" in that vocabulary
  EXPECT_TRUE(result["finish_reason"] == "length" || result["finish_reason"] == "stop");
  EXPECT_LE(result["tokens"].size(), 8u);
  EXPECT_TRUE(result["prefill_tokens_per_s"].is_number());
  EXPECT_TRUE(result["decode_tokens_per_s"].is_number());
  const std::string completion = result["text"];
  EXPECT_EQ(text.out, completion + (completion.ends_with('\n') ? "" : "\n"));
}

TEST(Cli, RunIsTheSameForAnyThreadsAndSeedsDecide) {
  const auto text = [](std::vector<std::string> more) {
    std::vector<std::string> command = {"run", kModel, "-p", "in the", "-n", "20"};
    command.insert(command.end(), more.begin(), more.end());
    const ProgramRun run = run_program(command);
    EXPECT_EQ(run.exit_code, 0) << run.err;
    return run.out;
  };
  EXPECT_EQ(text({"--threads", "1"}), text({"--threads", "3"}));
  EXPECT_EQ(text({"--temp", "2", "--seed", "5"}), text({"--temp", "2", "--seed", "5"}));
  EXPECT_NE(text({"--temp", "2", "--seed", "5"}), text({"--temp", "2", "--seed", "6"}));
}

TEST(Cli, APromptComesFromStandardInput) {
  const ProgramRun run = run_program({"run", kModel, "-p", "-", "-n", "2", "--json"},
                                     {"in the\n", "", {}, false, false});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_GE(json::parse(run.out)["prompt_tokens"], 3);  // the newline is one of them
}

TEST(Cli, TheContextIsAnEnd) {
  expect_failure(run_program({"run", kModel, "-p", repeat("ab", 200)}), 1, "context of 256");
  const ProgramRun run =
      run_program({"run", kModel, "-p", repeat("ab", 120), "-n", "1000", "--temp", "1", "--json"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  const json result = json::parse(run.out);
  EXPECT_EQ(result["finish_reason"], "context") << run.out;
  EXPECT_LE(result["tokens"].size() + result["prompt_tokens"].get<std::size_t>(), 257u);
}

TEST(Cli, StopStringsEndTheText) {
  const std::vector<std::string> command = {"run", kModel,   "-p", "a",     "-n",
                                            "40",  "--temp", "2",  "--json"};
  const json whole = json::parse(run_program(command).out);
  const std::string text = whole["text"];
  ASSERT_GE(text.size(), 8u);
  std::string stop = text.substr(text.size() / 2);
  while ((static_cast<unsigned char>(stop[0]) & 0xC0) == 0x80) stop.erase(0, 1);
  std::vector<std::string> stopped = command;
  stopped.insert(stopped.end(), {"--stop", stop, "--stop", "never in it"});
  const json result = json::parse(run_program(stopped).out);
  EXPECT_EQ(result["text"], text.substr(0, text.find(stop)));
  EXPECT_EQ(result["finish_reason"], "stop");
}

TEST(Cli, AClosedPipeEndsQuietly) {
  ProgramInput input;
  input.close_output = true;
  const ProgramRun run = run_program({"run", kModel, "-p", "a", "-n", "250", "--temp", "2"}, input);
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_EQ(run.err, "");
}

TEST(Cli, AFullDiskIsOneLine) {
  ProgramInput full;
  full.output_path = "/dev/full";
  expect_failure(run_program({"run", kModel, "-p", "a", "-n", "5"}, full), 1, "No space left");
  expect_failure(run_program({"tokenize", kModel, "abc"}, full), 1, "No space left");
  expect_failure(run_program({"inspect", kModel}, full), 1, "No space left");
  expect_failure(run_program({"--help"}, full), 1, "No space left");
  expect_failure(run_program({"logits", kModel, "--tokens", "1,2", "-o", "/dev/full"}), 1,
                 "/dev/full could not be written: No space left");
  expect_failure(run_program({"logits", kModel, "--tokens", "1,2", "-o", "/nowhere/x.npy"}), 1,
                 "/nowhere/x.npy");
}

TEST(Cli, CtrlCKeepsWhatWasWritten) {
  ProgramInput input;
  input.interrupt_at_first_output = true;
  const ProgramRun run = run_program({"run", kModel, "-p", "a", "-n", "250", "--temp", "2"}, input);
  // The tiny model may be done before the signal comes; it is never killed by it.
  EXPECT_TRUE(run.exit_code == 130 || run.exit_code == 0) << run.exit_code << run.err;
  EXPECT_FALSE(run.out.empty());
  EXPECT_EQ(run.out.back(), '\n');
}

TEST(Cli, TokenizeThereAndBack) {
  const ProgramRun ids =
      run_program({"tokenize", kModel, "-"}, {"the <|im_end|>\n", "", {}, false, false});
  ASSERT_EQ(ids.exit_code, 0) << ids.err;
  EXPECT_GT(json::parse(ids.out).size(), 8u);  // "<|im_end|>" is ten characters here
  const ProgramRun text = run_program({"tokenize", kModel, "--decode", ids.out});
  EXPECT_EQ(text.out, "the <|im_end|>\n");
  const ProgramRun special = run_program({"tokenize", kModel, "--special", "the <|im_end|>"});
  EXPECT_LT(json::parse(special.out).size(), 6u);
}

TEST(Cli, LogitsAreANumpyFile) {
  const TemporaryFile file("logits.npy");
  const ProgramRun run =
      run_program({"logits", kModel, "--tokens", "[1, 2, 3]", "-o", file.path, "--exact"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(run.out, "");
  std::ifstream in(file.path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(in), {}};
  const std::string header = npy_header(3, 288);
  EXPECT_EQ(header.size() % 64, 0u);
  EXPECT_EQ(bytes.substr(0, header.size()), header);
  EXPECT_NE(header.find("'shape': (3, 288)"), std::string::npos);
  EXPECT_EQ(bytes.size(), header.size() + 3 * 288 * 4);
}

TEST(Cli, LogitsLeaveNoHalfFile) {
  const TemporaryFile file("half.npy");
  {
    NpyWriter writer(file.path, 2, 2);
    const std::array<float, 2> row = {1, 2};
    writer.write(row);
    EXPECT_TRUE(file.exists());
  }
  EXPECT_FALSE(file.exists());
}

TEST(Cli, LogitsAreRefusedBeforeAnythingIsComputed) {
  const TemporaryFile file("refused.npy");
  std::string tokens = "1";
  for (int i = 0; i < 255; ++i) tokens += ",2";
  expect_failure(run_program({"logits", kModel, "--tokens", tokens + ",3", "-o", file.path}), 1,
                 "257 tokens were given. The model's context has 256");
  expect_failure(run_program({"logits", kModel, "--tokens", "1,2,288", "-o", file.path}), 2,
                 "token 2 is 288");
  EXPECT_FALSE(file.exists());
  EXPECT_EQ(run_program({"logits", kModel, "--tokens", tokens, "-o", file.path}).exit_code, 0);
}

TEST(Cli, LogitsGoToStandardOutput) {
  const ProgramRun run = run_program({"logits", kModel, "--tokens", "1,2", "-o", "-"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(run.out.substr(0, npy_header(2, 288).size()), npy_header(2, 288));
  EXPECT_EQ(run.out.size(), npy_header(2, 288).size() + 2 * 288 * 4);
  EXPECT_FALSE(TemporaryFile("-").exists());
  ProgramInput closed;
  closed.close_output = true;
  const ProgramRun gone = run_program({"logits", kModel, "--tokens", "1,2", "-o", "-"}, closed);
  EXPECT_EQ(gone.exit_code, 1);
  EXPECT_EQ(gone.err, "");
  expect_failure(run_program({"logits", kModel, "--tokens", "1", "-o", "-", "--json"}), 2,
                 "Name a file");
}

TEST(Cli, LogitsSayWhatTheyWrote) {
  const TemporaryFile file("said.npy");
  const ProgramRun run =
      run_program({"logits", kModel, "--tokens", "1,2", "-o", file.path, "--json"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(json::parse(run.out),
            (json{{"file", file.path}, {"shape", {2, 288}}, {"dtype", "f32"}}));
}

TEST(Cli, PerplexityIsJson) {
  const ProgramRun run =
      run_program({"perplexity", kModel, "-"}, {"the thing in the hand", "", {}, false, false});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const json result = json::parse(run.out);
  EXPECT_GT(result["tokens"], 5);
  EXPECT_NEAR(result["perplexity"].get<double>(), std::exp(result["nll"].get<double>()), 1e-6);
  expect_failure(run_program({"perplexity", kModel, "-"}), 1, "at least 2");
}

TEST(Cli, InspectShowsMetadataAndTensors) {
  const ProgramRun text = run_program({"inspect", kModel});
  ASSERT_EQ(text.exit_code, 0) << text.err;
  EXPECT_NE(text.out.find("llama.context_length"), std::string::npos);
  EXPECT_NE(text.out.find("token_embd.weight"), std::string::npos);
  const ProgramRun run = run_program({"inspect", kModel, "--json"});
  EXPECT_EQ(json::parse(run.out)["tensors"].size(), 20u);
}

TEST(Cli, BenchModelIsAListOfTests) {
  const ProgramRun run = run_program({"bench", "model", kModel, "-p", "16,32", "-n", "4", "-d",
                                      "0,64", "-r", "2", "--threads", "1", "--json"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const json result = json::parse(run.out);
  ASSERT_EQ(result.size(), 6u);
  EXPECT_EQ(result[1]["test"], "pp32");
  EXPECT_EQ(result[5]["test"], "tg4");
  EXPECT_EQ(result[5]["depth"], 64);
  EXPECT_EQ(result[5]["threads"], 1);
  EXPECT_GT(result[5]["tokens_per_s"], 0);
}

TEST(Cli, CachesWriteTheSameText) {
  const auto text = [](const char* n, std::vector<std::string> options) {
    std::vector<std::string> arguments = {"run", kModel, "-p", "the hill", "-n", n, "--json"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    const ProgramRun run = run_program(arguments);
    EXPECT_EQ(run.exit_code, 0) << run.err;
    return json::parse(run.out);
  };
  const json expected = text("40", {});
  for (const char* cache : {"contiguous", "paged", "rolling"}) {
    EXPECT_EQ(text("40", {"--cache", cache})["tokens"], expected["tokens"]) << cache;
  }
  // Beyond the 256 tokens of the model's context only a rolling cache goes on.
  EXPECT_EQ(text("400", {})["finish_reason"], "context");
  const json rolled = text("400", {"--cache", "rolling", "--window", "16"});
  EXPECT_EQ(rolled["finish_reason"], "length");
  EXPECT_EQ(rolled["tokens"].size(), 400u);
}

TEST(Cli, CheckShowsEqualBits) {
  const ProgramRun run = run_program({"check", kModel, "--json"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  const json result = json::parse(run.out);
  EXPECT_EQ(result["equal"], true);
  EXPECT_EQ(result["runs"].size(), 7u);
  EXPECT_EQ(run_program({"check", kModel}).out.find("FAILED"), std::string::npos);
}

TEST(Cli, CheckKeepsToTheContextAndToShortSteps) {
  expect_failure(run_program({"check", kModel, "--tokens", "257"}), 1, "context has 256");
  // A long prompt goes in chunks, between which Ctrl-C is heard.
  const json result = json::parse(run_program({"check", kModel, "--tokens", "256", "--json"}).out);
  EXPECT_EQ(result["equal"], true);
  EXPECT_EQ(result["runs"][0]["how"], "1 thread, the prompt in chunks of 192 tokens");
}

TEST(Cli, ProbeNamesTheLevels) {
  const ProgramRun run = run_program({"probe", "--levels"});
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_EQ(run.out.rfind("scalar", 0), 0u) << run.out;
  const json list = json::parse(run_program({"probe", "--levels", "--json", "-t", "1"}).out);
  ASSERT_TRUE(list.is_array());
  std::string joined;
  for (const json& level : list) {
    if (!joined.empty()) joined += ' ';
    joined += level.get<std::string>();
  }
  EXPECT_EQ(joined + "\n", run.out);
}

}  // namespace
}  // namespace raptly::test
