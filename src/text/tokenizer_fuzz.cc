// Whatever bytes come, encode and decode round-trip; whatever file comes, a tokenizer or an Error.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "raptly/error.h"
#include "raptly/tokenizer.h"
#include "text/byte_alphabet.h"
#include "text/normalize.h"
#include "text/pre_tokenizer.h"

namespace {

using namespace raptly;  // NOLINT: a program

void require(bool holds) {
  if (!holds) std::abort();
}

// All bytes, some merges; without NFC a control and two user-defined tokens (across whose ends NFC
// would not compose, so that decode() is not NFC of the whole).
Tokenizer make_tokenizer(std::string_view pre_tokenizer, bool nfc) {
  TokenizerSpec spec;
  for (int b = 0; b < 256; ++b) {
    const char c = static_cast<char>(b);
    spec.tokens.push_back(bytes_to_alphabet({&c, 1}));
  }
  for (const auto& [left, right] :
       {std::pair("a", "a"), std::pair("aa", "aa"), std::pair("aa", "a"), std::pair("'", "s"),
        std::pair("1", "2"), std::pair("|", ">")}) {
    spec.merges.emplace_back(left, right);
    spec.tokens.push_back(std::string(left) + right);
  }
  spec.kinds.assign(spec.tokens.size(), TokenKind::kNormal);
  for (const auto& [token, kind] :
       {std::pair("<|x|>", TokenKind::kControl), std::pair("<t>", TokenKind::kUserDefined),
        std::pair("<t>>", TokenKind::kUserDefined)}) {
    if (nfc) continue;
    spec.tokens.emplace_back(token);
    spec.kinds.push_back(kind);
  }
  spec.pre_tokenizer = pre_tokenizer;
  spec.nfc = nfc;
  return Tokenizer(std::move(spec));
}

void round_trip(const Tokenizer& tokenizer, const std::string& text) {
  require(tokenizer.decode(tokenizer.encode(text)) == text);
  require(tokenizer.decode(tokenizer.encode(text, SpecialTokens::kParse), true) == text);
}

void stream(std::string_view text) {
  Utf8Stream whole, pieces;
  std::string want = whole.push(text);
  want += whole.finish();
  std::string got;
  for (std::size_t i = 0; i < text.size(); ++i) got += pieces.push(text.substr(i, 1));
  got += pieces.finish();
  require(got == want);
}

void read_file(const std::string& text) {
  try {
    const std::size_t half = text.find('\x01');  // the config, if there is one, follows
    const std::string config = half == std::string::npos ? "" : text.substr(half + 1);
    const Tokenizer tokenizer(tokenizer_spec_from_json(text.substr(0, half), config));
    (void)tokenizer.decode(tokenizer.encode("ab 12\n<|im_end|>\xFF", SpecialTokens::kParse, true));
  } catch (const Error&) {  // any other exception, or a crash, is a finding
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] == '{') {
    read_file("{" + text);
    return 0;
  }
  static const Tokenizer tokenizers[] = {
      make_tokenizer("gpt-2", false), make_tokenizer("llama-bpe", false),
      make_tokenizer("qwen2", false), make_tokenizer("smollm", false)};
  static const Tokenizer normalising = make_tokenizer("qwen2", true);
  round_trip(tokenizers[data[0] % 4], text);
  require(normalising.decode(normalising.encode(text)) == to_nfc(text));
  require(to_nfc(to_nfc(text)) == to_nfc(text));
  stream(text);
  return 0;
}
