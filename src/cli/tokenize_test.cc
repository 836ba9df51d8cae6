#include "cli/tokenize.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <sstream>
#include <string>

#include "raptly/error.h"

namespace raptly {
namespace {

class TokenizeCommand : public testing::Test {
 protected:
  static Tokenizer load() {
    std::ifstream file(std::string(RAPTLY_SOURCE_DIR) + "/src/text/testdata/tokenizer.json",
                       std::ios::binary);
    TokenizerSpec spec =
        tokenizer_spec_from_json(std::string(std::istreambuf_iterator<char>(file), {}),
                                 R"({"bos_token": "<|im_start|>", "add_bos_token": true})");
    return Tokenizer(std::move(spec));
  }

  std::string run(const TokenizeOptions& options, const std::string& input = "") {
    std::istringstream in(input);
    std::ostringstream out;
    EXPECT_EQ(tokenize_command(tokenizer_, options, in, out), 0);
    return out.str();
  }

  void expect_refused(const std::string& list, const std::string& message) {
    try {
      run({list, true});
      ADD_FAILURE() << list;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      EXPECT_NE(std::string(error.what()).find(message), std::string::npos) << error.what();
    }
  }

  std::string list(const std::string& text) {  // of one-byte tokens only
    std::string out;
    for (const char c : text) {
      out += (out.empty() ? "[" : ", ") + std::to_string(*tokenizer_.find({&c, 1}));
    }
    return out + "]\n";
  }

  Tokenizer tokenizer_ = load();
};

TEST_F(TokenizeCommand, WritesAJsonListOfIds) {
  EXPECT_EQ(run({"~"}), list("~"));
  EXPECT_EQ(run({"z~"}), list("z~"));
  EXPECT_EQ(run({""}), "[]\n");
}

TEST_F(TokenizeCommand, DashReadsAllBytesTheLastNewlineToo) {
  EXPECT_EQ(run({"-"}, "~\n"), list("~\n"));
  EXPECT_EQ(run({"-"}, ""), "[]\n");
}

TEST_F(TokenizeCommand, DecodeGivesTheBytesBackAndNothingElse) {
  const std::string text("a\0b \r\n\xFF caf\xC3\xA9 12\n", 17);
  const std::string ids = run({"-"}, text);
  EXPECT_EQ(run({ids, true}), text);
  EXPECT_EQ(run({"-", true}, ids), text);
  EXPECT_EQ(run({"[]", true}), "");
}

TEST_F(TokenizeCommand, SpecialTokensOnlyWithSpecial) {
  const std::string bos = std::to_string(*tokenizer_.find("<|im_start|>"));
  const std::string end = std::to_string(*tokenizer_.find("<|im_end|>"));
  EXPECT_EQ(run({"<|im_end|>", false, true}), "[" + bos + ", " + end + "]\n");
  const std::string plain = run({"<|im_end|>"});
  EXPECT_EQ(plain.find(end), std::string::npos);
  EXPECT_EQ(run({plain, true}), "<|im_end|>");
  EXPECT_EQ(run({"[" + end + "]", true}), "");
  EXPECT_EQ(run({"[" + end + "]", true, true}), "<|im_end|>");
}

TEST_F(TokenizeCommand, RefusesWhatIsNoListOfIds) {
  expect_refused("1, 2", "the list of ids is not JSON at byte");
  expect_refused("7", "--decode was given number. It takes a JSON list of ids, such as [1, 2, 3].");
  expect_refused("[1, \"a\"]", "element 1 of the list is \"a\". Ids are whole numbers from 0 on.");
  expect_refused("[1.5]", "element 0 of the list is 1.5.");
  expect_refused("[-1]", "element 0 of the list is -1.");
  expect_refused("[99999999999]", "element 0 of the list is 99999999999.");
  expect_refused("[123456]", "token id is 123456. 0 to 1257 are allowed.");
}

TEST_F(TokenizeCommand, AClosedOutputIsAnIoError) {
  std::istringstream in;
  std::ostringstream out;
  out.setstate(std::ios::badbit);
  try {
    tokenize_command(tokenizer_, {"a"}, in, out);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kIo);
  }
}

}  // namespace
}  // namespace raptly
