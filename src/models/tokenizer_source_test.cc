#include "models/tokenizer_source.h"

#include <gtest/gtest.h>

#include "models/test_models.h"
#include "raptly/error.h"

namespace raptly {
namespace {

Metadata metadata() {
  Metadata m;
  m.set("tokenizer.ggml.model", std::string("gpt2"));
  m.set("tokenizer.ggml.pre", std::string("smollm"));
  m.set("tokenizer.ggml.tokens",
        std::vector<std::string>{"a", "b", "ab", "<|im_end|>", "<x>", "\u00a0"});
  m.set("tokenizer.ggml.token_type", std::vector<std::int64_t>{1, 1, 1, 3, 4, 5});
  m.set("tokenizer.ggml.merges", std::vector<std::string>{"a b"});
  m.set("tokenizer.ggml.eos_token_id", std::uint64_t{3});
  return m;
}

void expect_error(const Metadata& m, ErrorCode code, const std::string& part) {
  try {
    tokenizer_spec_from_gguf(m);
    FAIL() << "accepted: " << part;
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), code) << e.what();
    EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
  }
}

TEST(TokenizerSource, FromGguf) {
  const TokenizerSpec spec = tokenizer_spec_from_gguf(metadata());
  EXPECT_EQ(spec.tokens.size(), 6u);
  EXPECT_EQ(spec.kinds[3], TokenKind::kControl);
  EXPECT_EQ(spec.kinds[4], TokenKind::kUserDefined);
  EXPECT_EQ(spec.kinds[5], TokenKind::kUnused);
  EXPECT_EQ(spec.merges, (std::vector<std::pair<std::string, std::string>>{{"a", "b"}}));
  EXPECT_EQ(spec.pre_tokenizer, "smollm");
  EXPECT_EQ(spec.eos, 3);
  EXPECT_FALSE(spec.bos.has_value());
  EXPECT_EQ(spec.end_tokens, std::vector<TokenId>{3});
  EXPECT_FALSE(spec.add_bos);
  Metadata llama3 = metadata();
  llama3.set("tokenizer.ggml.pre", std::string("llama-bpe"));
  EXPECT_TRUE(tokenizer_spec_from_gguf(llama3).add_bos);
  EXPECT_TRUE(tokenizer_spec_from_gguf(llama3).ignore_merges);
}

TEST(TokenizerSource, SaysWhatIsWrong) {
  Metadata m = metadata();
  m.set("tokenizer.ggml.model", std::string("llama"));
  expect_error(m, ErrorCode::kNotSupported, "'llama'");
  m = metadata();
  m.set("tokenizer.ggml.token_type", std::vector<std::int64_t>{1, 1});
  expect_error(m, ErrorCode::kCorruptFile, "2 entries for 6 tokens");
  m.set("tokenizer.ggml.token_type", std::vector<std::int64_t>{1, 1, 9, 1, 1, 1});
  expect_error(m, ErrorCode::kCorruptFile, "has a 9");
  m = metadata();
  m.set("tokenizer.ggml.merges", std::vector<std::string>{"ab"});
  expect_error(m, ErrorCode::kCorruptFile, "'ab'");
  m = metadata();
  m.set("tokenizer.ggml.eos_token_id", std::uint64_t{6});
  expect_error(m, ErrorCode::kCorruptFile, "eos_token_id is 6");
  m = metadata();
  m.set("tokenizer.ggml.pre", std::monostate());
  expect_error(m, ErrorCode::kCorruptFile, "tokenizer.ggml.pre");
}

TEST(TokenizerSource, OfFiles) {
  const auto tiny = open_checkpoint(test::testdata("quantized.gguf"));
  EXPECT_EQ(tokenizer_spec(*tiny)->pre_tokenizer, "smollm");
  EXPECT_FALSE(tokenizer_spec(*open_checkpoint(test::testdata("llama"))).has_value());
  EXPECT_FALSE(tokenizer_spec(*open_checkpoint(test::testdata("llama.gguf"))).has_value());
}

}  // namespace
}  // namespace raptly
