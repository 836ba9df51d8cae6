#include "text/utf8.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "raptly/tokenizer.h"

namespace raptly {
namespace {

std::string replaced(std::string_view bytes) {
  Utf8Stream stream;
  std::string out = stream.push(bytes);
  return out + stream.finish();
}

nlohmann::json goldens() {
  std::ifstream in(std::string(RAPTLY_SOURCE_DIR) + "/src/text/testdata/utf8_goldens.json");
  return nlohmann::json::parse(in);
}

std::string from_hex(const std::string& hex) {
  std::string bytes;
  for (std::size_t i = 0; i < hex.size(); i += 2) {
    bytes.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

TEST(Utf8, CasesAsPythonReplaces) {
  const auto golden = goldens();
  for (const auto& entry : golden["cases"]) {
    const auto hex = entry[0].get<std::string>();
    EXPECT_EQ(replaced(from_hex(hex)), entry[1].get<std::string>()) << hex;
  }
}

TEST(Utf8, AllStringsOfEdgeBytesAsPythonReplaces) {
  const auto golden = goldens();
  const auto edges = golden["edges"].get<std::vector<int>>();
  std::uint64_t hash = 0xCBF29CE484222325u;  // FNV-1a
  for (std::size_t length = 1; length <= 4; ++length) {
    std::vector<std::size_t> digits(length, 0);
    for (bool more = true; more;) {
      std::string bytes;
      for (const std::size_t digit : digits) bytes.push_back(static_cast<char>(edges[digit]));
      for (const char c : replaced(bytes) + "\n") {
        hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
      }
      more = false;
      for (std::size_t i = length; i-- > 0 && !more;) {
        digits[i] = (digits[i] + 1) % edges.size();
        more = digits[i] != 0;
      }
    }
  }
  char text[17];
  std::snprintf(text, sizeof(text), "%016llx", static_cast<unsigned long long>(hash));
  EXPECT_EQ(text, golden["hash"].get<std::string>());
}

TEST(Utf8, AppendIsTheInverseOfNext) {
  for (std::uint32_t code = 0; code < 0x110000; ++code) {
    if (code >= 0xD800 && code < 0xE000) continue;
    std::string bytes;
    append_utf8(bytes, code);
    const Utf8Char c = next_utf8(bytes);
    ASSERT_TRUE(c.valid && c.code == code && c.length == bytes.size()) << code;
  }
}

RC_GTEST_PROP(Utf8, StreamInPiecesIsTheWholeAndAlwaysUtf8, (std::string bytes)) {
  // Half of the time text with a broken end, which random bytes seldom are.
  if (*rc::gen::arbitrary<bool>()) bytes += "\xF0\x9F\x98\x80\xE2\x82\xAC\xC3";
  Utf8Stream stream;
  std::string joined;
  for (std::string_view rest = bytes; !rest.empty();) {
    const auto n = *rc::gen::inRange<std::size_t>(1, 4);
    const std::string piece = stream.push(rest.substr(0, n));
    RC_ASSERT(replaced(piece) == piece);
    joined += piece;
    rest.remove_prefix(std::min(n, rest.size()));
  }
  RC_ASSERT(joined + stream.finish() == replaced(bytes));
}

TEST(Utf8, StreamHoldsBackHalfACharacter) {
  Utf8Stream stream;
  EXPECT_EQ(stream.push("a\xF0\x9F"), "a");
  EXPECT_EQ(stream.push("\x98"), "");
  EXPECT_EQ(stream.push("\x80z"), "\xF0\x9F\x98\x80z");
  EXPECT_EQ(stream.push("\xE2\x82"), "");
  EXPECT_EQ(stream.push("b"),
            "\xEF\xBF\xBD"
            "b");
  EXPECT_EQ(stream.push("\xE2\x82"), "");
  EXPECT_EQ(stream.finish(), "\xEF\xBF\xBD");
  EXPECT_EQ(stream.finish(), "");
}

}  // namespace
}  // namespace raptly
