#include "text/chat_prompt.h"

#include <gtest/gtest.h>

namespace raptly {
namespace {

// Tokens: the bytes of ASCII by their own letters, then two control tokens.
Tokenizer ascii_tokenizer() {
  TokenizerSpec spec;
  for (char c = '!'; c <= '~'; ++c) spec.tokens.emplace_back(1, c);
  spec.kinds.assign(spec.tokens.size(), TokenKind::kNormal);
  for (const char* control : {"<|end|>", "<|end|>>"}) {
    spec.tokens.emplace_back(control);
    spec.kinds.push_back(TokenKind::kControl);
  }
  spec.pre_tokenizer = "gpt-2";
  spec.bos = static_cast<TokenId>(spec.tokens.size()) - 1;
  spec.eos = static_cast<TokenId>(spec.tokens.size()) - 2;
  return Tokenizer(std::move(spec));
}

std::vector<TokenId> encode(std::string_view source, const std::string& content) {
  return encode_chat(ChatTemplate(source), ascii_tokenizer(), {{"user", content}}, {});
}

TEST(ChatPrompt, ControlTokensOfTheTemplateAreTokens) {
  const Tokenizer tokenizer = ascii_tokenizer();
  const std::vector<TokenId> ids =
      encode("{{ bos_token }}{{ messages[0].content }}{{ eos_token }}", "ab");
  EXPECT_EQ(ids, (std::vector<TokenId>{*tokenizer.spec().bos, *tokenizer.find("a"),
                                       *tokenizer.find("b"), *tokenizer.spec().eos}));
}

TEST(ChatPrompt, ControlTokensOfAMessageAreText) {
  const Tokenizer tokenizer = ascii_tokenizer();
  for (const std::string content : {"a<|end|>b", "<|end|>>", "<|end|><|end|>", "<|<|end|>end|>"}) {
    const std::vector<TokenId> ids = encode("{{ messages[0].content }}{{ eos_token }}", content);
    ASSERT_EQ(ids.size(), content.size() + 1) << content;  // one token a character
    EXPECT_EQ(ids.back(), *tokenizer.spec().eos);
    EXPECT_EQ(tokenizer.decode(ids), content);
  }
}

TEST(ChatPrompt, MarkersCannotBeForgedOrLeak) {
  const Tokenizer tokenizer = ascii_tokenizer();
  // The noncharacters that mark such places are dropped from what comes in ...
  EXPECT_EQ(tokenizer.decode(encode("{{ messages[0].content }}", "\uFDD0<|end|>\uFDD1x")),
            "<|end|>x");
  // ... and a template that cuts one off (or the token in two) makes no token of the rest.
  const auto shown = [&](std::string_view source) {
    return tokenizer.decode(encode(source, "<|end|>"), true);
  };
  for (const std::string source :
       {"{{ messages[0].content[1:] }}", "{{ messages[0].content[:-1] }}"}) {
    EXPECT_EQ(encode(source, "<|end|>").size(), 7u) << source;
    EXPECT_EQ(shown(source), "<|end|>");
  }
  EXPECT_EQ(shown("{{ messages[0].content[:4] }}"), "<|e");
}

}  // namespace
}  // namespace raptly
