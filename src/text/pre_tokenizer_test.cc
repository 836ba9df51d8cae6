#include "text/pre_tokenizer.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <string>
#include <vector>

#include "raptly/error.h"

namespace raptly {
namespace {

using Words = std::vector<std::string>;

Words split(std::string_view name, std::string_view text) {
  const PreTokenizer pre_tokenizer(find_pre_tokenizer(name));
  PreTokenizer::Scratch scratch;
  pre_tokenizer.split(text, scratch);
  Words words;
  std::size_t begin = 0;
  for (const std::size_t end : scratch.ends) {
    words.emplace_back(text.substr(begin, end - begin));
    begin = end;
  }
  return words;
}

TEST(PreTokenizer, Gpt2) {
  EXPECT_EQ(split("gpt-2", "I'll  pay $120, it's\n\n ok "),
            (Words{"I", "'ll", " ", " pay", " $", "120", ",", " it", "'s", "\n\n", " ok", " "}));
  EXPECT_EQ(split("gpt-2", "IT'S"), (Words{"IT", "'", "S"}));
  EXPECT_EQ(split("gpt-2", ""), Words{});
}

TEST(PreTokenizer, SmolLmTakesDigitsOneByOneAndEndsThePieceThere) {
  EXPECT_EQ(split("smollm", "in 2024 or  5"),
            (Words{"in", " ", "2", "0", "2", "4", " or", "  ", "5"}));
  EXPECT_EQ(split("smollm", "x\xC2\xB2"), (Words{"x", "\xC2\xB2"}));  // superscript two: \p{No}
}

TEST(PreTokenizer, Llama3TakesThreeDigitsAndNewlines) {
  EXPECT_EQ(split("llama-bpe", "IT'S 12345!\n\n  x\t"),
            (Words{"IT", "'S", " ", "123", "45", "!\n\n", " ", " x", "\t"}));
}

TEST(PreTokenizer, Qwen2TakesOneDigit) {
  EXPECT_EQ(split("qwen2", "(x12 \n  )"), (Words{"(x", "1", "2", " \n", " ", " )"}));
}

TEST(PreTokenizer, CaselessMatchesFoldAsUnicodeSays) {
  EXPECT_EQ(split("qwen2", "a'\xC5\xBF!"), (Words{"a", "'\xC5\xBF", "!"}));  // long s
  EXPECT_EQ(split("gpt-2", "a'\xC5\xBF!"), (Words{"a", "'", "\xC5\xBF", "!"}));
}

TEST(PreTokenizer, SpacesAreWhiteSpace) {
  // U+00A0, U+0085 and U+3000 are, U+180E and U+200B are not.
  EXPECT_EQ(split("gpt-2", "a\xC2\xA0\xC2\x85\xE3\x80\x80"),
            (Words{"a", "\xC2\xA0\xC2\x85\xE3\x80\x80"}));
  EXPECT_EQ(split("gpt-2", "\xE1\xA0\x8E!\xE2\x80\x8B"), (Words{"\xE1\xA0\x8E!\xE2\x80\x8B"}));
}

TEST(PreTokenizer, BrokenUtf8IsASymbol) {
  EXPECT_EQ(split("gpt-2", "ab\xFF\xF0\x9F!c\x80"), (Words{"ab", "\xFF\xF0\x9F!", "c", "\x80"}));
}

RC_GTEST_PROP(PreTokenizer, WordsAreTheTextInOrder, (std::string text)) {
  for (const PreTokenizerInfo& info : pre_tokenizers()) {
    std::string joined;
    for (const std::string& word : split(info.name, text)) {
      RC_ASSERT(!word.empty());
      joined += word;
    }
    RC_ASSERT(joined == text);
  }
}

TEST(PreTokenizer, UnknownNamesItselfAndTheKnown) {
  try {
    find_pre_tokenizer("deepseek-coder");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kNotSupported);
    EXPECT_STREQ(error.what(),
                 "[text] pre-tokenizer is \"deepseek-coder\". Known are gpt-2, llama-bpe, qwen2, "
                 "smollm.");
  }
}

TEST(PreTokenizer, TenMegabytesOfOneCharacterAreOneWord) {
  for (const PreTokenizerInfo& info : pre_tokenizers()) {
    EXPECT_EQ(split(info.name, std::string(10'000'000, ' ')).size(), 1u) << info.name;
    EXPECT_EQ(split(info.name, std::string(10'000'000, 'a')).size(), 1u) << info.name;
  }
}

TEST(CharClasses, PatternsAreWrittenOut) {
  EXPECT_EQ(pattern_over_classes(R"([^\s\p{N}]+\S)"), R"([^\t-\r \x820-9\x81]+[^\t-\r \x82])");
  EXPECT_EQ(pattern_over_classes("(?i:'s|k)s"), "(?i:'[s\\x84]|[k\\x85])s");
}

TEST(CharClasses, OtherEscapesAreRefusedByName) {
  const std::pair<const char*, const char*> cases[] = {
      {R"(a\p{Lu})", R"(has \p{Lu}. Known)"},    {R"(\d+)", R"(has \d. Known)"},
      {R"(\P{L})", R"(has \P{L}. Known)"},       {R"([\S])", R"(has \S. Known)"},
      {R"(\p{L)", R"(has \p{L. Known)"},         {"x\\", "has \\. Known"},
      {"a\xC3\xA9", "outside ASCII at offset 1"}};
  for (const auto& [pattern, message] : cases) {
    try {
      pattern_over_classes(pattern);
      ADD_FAILURE() << pattern;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kNotSupported);
      EXPECT_NE(std::string(error.what()).find(message), std::string::npos) << error.what();
    }
  }
}

TEST(CharClasses, KnowUnicode16) {
  const auto is = [](std::uint32_t code) { return char_class(code); };
  EXPECT_EQ(is(0xE9), CharClass::kLetter);
  EXPECT_EQ(is(0x80), CharClass::kOther);
  EXPECT_EQ(is(0x85), CharClass::kSpace);
  EXPECT_EQ(is(0x17F), CharClass::kLongS);
  EXPECT_EQ(is(0x212A), CharClass::kKelvin);
  EXPECT_EQ(is(0x1C89), CharClass::kLetter);   // new in 16
  EXPECT_EQ(is(0x10D40), CharClass::kNumber);  // new in 16
  EXPECT_EQ(is(0x11DE0), CharClass::kDigit);   // new in 17
  EXPECT_EQ(is(0x20000), CharClass::kLetter);
  EXPECT_EQ(is(0x1F600), CharClass::kOther);
  EXPECT_EQ(is(0x10FFFF), CharClass::kOther);
  std::size_t letters = 0;
  for (std::uint32_t code = 0x80; code < 0x110000; ++code) {
    const CharClass c = is(code);
    letters += c == CharClass::kLetter || c == CharClass::kLongS || c == CharClass::kKelvin;
  }
  EXPECT_EQ(letters, 141028u - 52u);  // Unicode 16's letters without ASCII's
}

TEST(Regex, BrokenPatternSaysWhere) {
  try {
    Regex("ab(c");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_NE(std::string(error.what()).find("at offset 4"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace raptly
