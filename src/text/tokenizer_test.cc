#include "raptly/tokenizer.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <chrono>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "raptly/error.h"
#include "text/byte_alphabet.h"
#include "text/special_tokens.h"

namespace raptly {
namespace {

using Ids = std::vector<TokenId>;

// Byte b is token b; then the merges' tokens, then the special ones.
TokenizerSpec bytes_spec(const std::vector<std::pair<std::string, std::string>>& merges = {}) {
  TokenizerSpec spec;
  for (int b = 0; b < 256; ++b) {
    const char c = static_cast<char>(b);
    spec.tokens.push_back(bytes_to_alphabet({&c, 1}));
  }
  spec.merges = merges;
  for (const auto& [left, right] : merges) spec.tokens.push_back(left + right);
  spec.kinds.assign(spec.tokens.size(), TokenKind::kNormal);
  spec.pre_tokenizer = "gpt-2";
  return spec;
}

TokenId add(TokenizerSpec& spec, const std::string& token, TokenKind kind) {
  spec.tokens.push_back(token);
  spec.kinds.push_back(kind);
  return static_cast<TokenId>(spec.tokens.size() - 1);
}

void remove_byte(TokenizerSpec& spec, int byte) {
  spec.tokens[static_cast<std::size_t>(byte)] = "unused";
  spec.kinds[static_cast<std::size_t>(byte)] = TokenKind::kUnused;
}

Ids ids_of(std::string_view text) {
  Ids ids;
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
  return ids;
}

template <class Function>
void expect_error(Function&& function, ErrorCode code, const std::string& message) {
  try {
    function();
    ADD_FAILURE() << "no error: " << message;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_EQ(error.what(), message);
  }
}

Tokenizer trained(const char* pre_tokenizer) {
  std::ifstream in(std::string(RAPTLY_SOURCE_DIR) + "/src/text/testdata/tokenizer.json",
                   std::ios::binary);
  TokenizerSpec spec =
      tokenizer_spec_from_json(std::string(std::istreambuf_iterator<char>(in), {}), "");
  spec.pre_tokenizer = pre_tokenizer;
  return Tokenizer(std::move(spec));  // its nfc is false
}

TEST(ByteAlphabet, IsGpt2s) {
  EXPECT_EQ(bytes_to_alphabet(" \n!~"), "\xC4\xA0\xC4\x8A!~");
  EXPECT_EQ(bytes_to_alphabet(std::string("\0\x7F\xAD\xFF", 4)),
            "\xC4\x80\xC4\xA1\xC5\x83\xC3\xBF");
  std::string all;
  for (int b = 0; b < 256; ++b) all.push_back(static_cast<char>(b));
  EXPECT_EQ(alphabet_to_bytes(bytes_to_alphabet(all)), all);
  EXPECT_EQ(alphabet_to_bytes("a b"), std::nullopt);
  EXPECT_EQ(alphabet_to_bytes("\xC5\x84"), std::nullopt);  // U+0144, one past the last
  EXPECT_EQ(alphabet_to_bytes("\xFF"), std::nullopt);
}

RC_GTEST_PROP(Tokenizer, DecodeGivesBackAnyBytes, (std::string text)) {
  static const Tokenizer tokenizers[] = {trained("gpt-2"), trained("llama-bpe"), trained("qwen2"),
                                         trained("smollm")};
  for (const Tokenizer& tokenizer : tokenizers) {
    RC_ASSERT(tokenizer.decode(tokenizer.encode(text)) == text);
    RC_ASSERT(tokenizer.decode(tokenizer.encode(text, SpecialTokens::kParse), true) == text);
  }
}

TEST(Tokenizer, EmptyTextHasNoIds) {
  const Tokenizer tokenizer(bytes_spec());
  EXPECT_EQ(tokenizer.encode(""), Ids{});
  EXPECT_EQ(tokenizer.decode({}), "");
}

TEST(Tokenizer, MergesStayInsideWords) {
  const Tokenizer tokenizer(bytes_spec({{"a", "b"}, {"ab", "c"}, {"c", "a"}}));
  EXPECT_EQ(tokenizer.encode("abc"), Ids{257});
  EXPECT_EQ(tokenizer.encode("cab"), (Ids{'c', 256}));
  EXPECT_EQ(tokenizer.encode("c ab"), (Ids{'c', ' ', 256}));
}

TEST(Tokenizer, IgnoreMergesTakesAWordThatIsAToken) {
  TokenizerSpec spec = bytes_spec({{"a", "b"}});
  const TokenId whole = add(spec, "xyz", TokenKind::kNormal);
  EXPECT_EQ(Tokenizer(spec).encode("xyz ab"), (Ids{'x', 'y', 'z', ' ', 256}));
  spec.ignore_merges = true;
  EXPECT_EQ(Tokenizer(spec).encode("xyz"), Ids{whole});
  EXPECT_EQ(Tokenizer(spec).encode("xyzz"), (Ids{'x', 'y', 'z', 'z'}));
}

TEST(Tokenizer, ControlTokensOnlyWhereTheCallerAllowsThem) {
  TokenizerSpec spec = bytes_spec();
  const TokenId control = add(spec, "<|end|>", TokenKind::kControl);
  const TokenId user = add(spec, "<tool>", TokenKind::kUserDefined);
  const TokenId longer = add(spec, "<tool>s", TokenKind::kUserDefined);
  const Tokenizer tokenizer(spec);
  EXPECT_EQ(tokenizer.encode("<|end|>"), ids_of("<|end|>"));
  EXPECT_EQ(tokenizer.encode("<|end|>", SpecialTokens::kParse), Ids{control});
  EXPECT_EQ(tokenizer.encode("a<tool><tool>sb"), (Ids{'a', user, longer, 'b'}));
  EXPECT_EQ(tokenizer.encode("<tool<|end|><|end|", SpecialTokens::kParse),
            (Ids{'<', 't', 'o', 'o', 'l', control, '<', '|', 'e', 'n', 'd', '|'}));
  EXPECT_EQ(tokenizer.decode({'a', control, user}), "a<tool>");
  EXPECT_EQ(tokenizer.decode({'a', control, user}, true), "a<|end|><tool>");
  EXPECT_EQ(tokenizer.find("<|end|>"), control);
  EXPECT_EQ(tokenizer.find("a"), 'a');
  EXPECT_EQ(tokenizer.find("<|"), std::nullopt);
}

TEST(Tokenizer, TextNeverMergesIntoAControlToken) {
  TokenizerSpec spec = bytes_spec({{"p", "a"}, {"pa", "d"}});
  spec.kinds[257] = TokenKind::kControl;
  spec.ignore_merges = true;
  EXPECT_EQ(Tokenizer(spec).encode("pad"), (Ids{256, 'd'}));
}

TEST(Tokenizer, SpecialTokensOfTheModelOnRequest) {
  TokenizerSpec spec = bytes_spec();
  spec.bos = add(spec, "<s>", TokenKind::kControl);
  spec.eos = add(spec, "</s>", TokenKind::kControl);
  spec.add_bos = true;
  EXPECT_EQ(Tokenizer(spec).encode("a", SpecialTokens::kText, true), (Ids{256, 'a'}));
  spec.add_eos = true;
  EXPECT_EQ(Tokenizer(spec).encode("", SpecialTokens::kText, true), (Ids{256, 257}));
  EXPECT_EQ(Tokenizer(spec).encode("a"), Ids{'a'});
}

TEST(Tokenizer, EndTokens) {
  TokenizerSpec spec = bytes_spec();
  const TokenId end_of_text = add(spec, "<|endoftext|>", TokenKind::kControl);
  const TokenId im_end = add(spec, "<|im_end|>", TokenKind::kControl);
  const TokenId text = add(spec, "<|eot_id|>", TokenKind::kNormal);  // not a control token here
  spec.eos = end_of_text;
  add_known_end_tokens(spec);
  add_known_end_tokens(spec);
  EXPECT_EQ(spec.end_tokens, (Ids{end_of_text, im_end}));
  EXPECT_EQ(spec.eot, im_end);
  const Tokenizer tokenizer(spec);
  EXPECT_TRUE(tokenizer.is_end(end_of_text) && tokenizer.is_end(im_end));
  EXPECT_FALSE(tokenizer.is_end(text) || tokenizer.is_end('a') || tokenizer.is_end(-1));
}

TEST(Tokenizer, BytesTheVocabularyLacks) {
  TokenizerSpec spec = bytes_spec();
  remove_byte(spec, 0x04);
  remove_byte(spec, 0xFF);
  // Of a valid character: dropped, as HF does. Not UTF-8: U+FFFD, which HF would have been given.
  EXPECT_EQ(Tokenizer(spec).encode("a\x04z\xFF\xFE"), (Ids{'a', 'z', 0xEF, 0xBF, 0xBD, 0xFE}));
  spec.unk = add(spec, "<unk>", TokenKind::kControl);
  EXPECT_EQ(Tokenizer(spec).encode("a\x04"), Ids{'a'});
  spec.unk_for_missing = true;
  EXPECT_EQ(Tokenizer(spec).encode("a\x04"), (Ids{'a', *spec.unk}));
}

TEST(Tokenizer, NfcIfThePreTokenizersModelOrTheFileSaysSo) {
  TokenizerSpec spec = bytes_spec();
  spec.pre_tokenizer = "qwen2";
  EXPECT_EQ(Tokenizer(spec).encode("e\xCC\x81"), ids_of("\xC3\xA9"));
  spec.nfc = false;
  EXPECT_EQ(Tokenizer(spec).encode("e\xCC\x81"), ids_of("e\xCC\x81"));
  spec.nfc = true;
  spec.pre_tokenizer = "gpt-2";
  EXPECT_EQ(Tokenizer(spec).encode("e\xCC\x81"), ids_of("\xC3\xA9"));
}

TEST(Tokenizer, UnmarkedAddedTokensAreTheirText) {
  TokenizerSpec spec = bytes_spec();
  const TokenId id = add(spec, "two words", TokenKind::kNormal);  // a space is not of the alphabet
  const Tokenizer tokenizer(spec);
  EXPECT_EQ(tokenizer.token_bytes(id), "two words");
  EXPECT_EQ(tokenizer.encode("two words"), ids_of("two words"));
}

TEST(Tokenizer, BadIdsAreRefused) {
  const Tokenizer tokenizer(bytes_spec());
  expect_error([&] { tokenizer.token_bytes(256); }, ErrorCode::kInvalidArgument,
               "[text] token id is 256. 0 to 255 are allowed.");
  expect_error([&] { tokenizer.decode({1, -1}); }, ErrorCode::kInvalidArgument,
               "[text] token id is -1. 0 to 255 are allowed.");
}

TEST(Tokenizer, InconsistentTablesAreRefused) {
  const auto refused = [](auto&& change, const std::string& message) {
    TokenizerSpec spec = bytes_spec({{"a", "b"}});
    change(spec);
    expect_error([&] { Tokenizer(std::move(spec)); }, ErrorCode::kCorruptFile, "[text] " + message);
  };
  refused([](auto& s) { s.tokens.clear(); }, "a tokenizer has no tokens.");
  refused([](auto& s) { s.kinds.pop_back(); },
          "257 tokens, but 256 token kinds. There must be one a token.");
  refused([](auto& s) { s.eos = 257; }, "eos is token 257 of 257.");
  refused([](auto& s) { s.bos = -1; }, "bos is token -1 of 257.");
  refused([](auto& s) { s.end_tokens = {3, 300}; }, "an end token is token 300 of 257.");
  refused([](auto& s) { s.add_bos = true; }, "the tokenizer adds a BOS token, but has none.");
  refused([](auto& s) { s.add_eos = true; }, "the tokenizer adds an EOS token, but has none.");
  refused([](auto& s) { s.unk_for_missing = true; },
          "missing bytes are unk, but there is no unk token.");
  refused([](auto& s) { s.tokens[256] = "a"; }, "tokens 97 and 256 are both \"a\".");
  refused([](auto& s) { s.merges.emplace_back("a", "c"); },
          "merge 1 (\"a\" + \"c\") needs \"ac\", which is not a token.");
  refused([](auto& s) { s.merges.emplace_back("", "c"); },
          "merge 1 (\"\" + \"c\") needs \"\", which is not a token.");
  refused([](auto& s) { s.merges.emplace_back("a", "b"); },
          "merge 1 (\"a\" + \"b\") is listed twice.");
  refused([](auto& s) { add(s, "", TokenKind::kControl); },
          "special token 257 has 0 bytes. 1 to 1024 are allowed.");
  refused([](auto& s) { add(s, std::string(1025, 'x'), TokenKind::kUserDefined); },
          "special token 257 has 1025 bytes. 1 to 1024 are allowed.");
  refused(
      [](auto& s) {
        add(s, "<x>", TokenKind::kControl);
        add(s, "<x>", TokenKind::kUserDefined);
      },
      "tokens 257 and 258 are both \"<x>\".");
}

TEST(Tokenizer, UnknownPreTokenizerIsNotSupported) {
  TokenizerSpec spec = bytes_spec();
  spec.pre_tokenizer = "";
  expect_error([&] { Tokenizer(std::move(spec)); }, ErrorCode::kNotSupported,
               "[text] pre-tokenizer is \"\". Known are gpt-2, llama-bpe, qwen2, smollm.");
}

TEST(Tokenizer, AMegabyteWithoutAWordEndTakesNoQuadraticTime) {
  const auto start = std::chrono::steady_clock::now();
  for (const char* name : {"llama-bpe", "smollm"}) {
    const Tokenizer tokenizer = trained(name);
    std::string texts[] = {std::string(1'000'000, 'a'),    std::string(1'000'000, ' '),
                           std::string(1'000'000, '7'),    std::string(1'000'000, '\n'),
                           std::string(1'000'000, '\xFF'), std::string(1'000'000, '<')};
    for (const std::string& text : texts) {
      EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
    }
  }
  // 12 MB: 1 s, with tsan 15 s; half an hour if anything were quadratic.
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(120));
}

TEST(Tokenizer, ThreadsShareOne) {
  const Tokenizer tokenizer = trained("smollm");
  const std::string text = "It is what it is, and 12 more: \xC3\xA9t\xC3\xA9, \xE6\xBC\xA2.";
  const Ids want = trained("smollm").encode(text);
  std::vector<std::thread> threads;
  std::vector<Ids> got(4);
  for (Ids& ids : got) threads.emplace_back([&] { ids = tokenizer.encode(text); });
  for (std::thread& thread : threads) thread.join();
  for (const Ids& ids : got) EXPECT_EQ(ids, want);
}

TEST(SpecialTokens, LeftmostThenLongest) {
  SpecialTokenFinder finder;
  finder.add("ab", 1, false);
  finder.add("abcd", 2, false);
  finder.add("bcde", 3, true);
  const auto at = [&](std::string_view text, bool control) {
    return finder.find(text, 0, control);
  };
  EXPECT_EQ(at("xabcde", true).id, 2);
  EXPECT_EQ(at("xabce", true).id, 1);
  EXPECT_EQ(at("xbcde", true).begin, 1u);
  EXPECT_EQ(at("xbcde", false).id, -1);
  EXPECT_EQ(at("abab", false).end, 2u);
  EXPECT_EQ(finder.find("abab", 1, false).begin, 2u);
  EXPECT_EQ(finder.find_exact("abc"), -1);
  EXPECT_EQ(finder.find_exact("bcde"), 3);
}

}  // namespace
}  // namespace raptly
