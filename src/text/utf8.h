// UTF-8, one character at a time, with Python's idea of what a broken one is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace raptly {

struct Utf8Char {
  std::uint32_t code = 0xFFFD;  // U+FFFD when invalid
  std::uint32_t length = 0;     // bytes, >= 1; of an invalid sequence: its maximal subpart
  bool valid = false;
  bool cut = false;  // invalid only because the text ends: more bytes could complete it
};

// The character at the start of `text`, which is not empty. Shortest forms only, no surrogates, at
// most U+10FFFF. A "maximal subpart" (Unicode 15.0, section 3.9, D93b) is the longest prefix that
// could begin a character, or one byte: what errors="replace" turns into one U+FFFD.
Utf8Char next_utf8(std::string_view text) noexcept;

void append_utf8(std::string& out, std::uint32_t code);

inline constexpr std::string_view kReplacementUtf8 = "\xEF\xBF\xBD";  // U+FFFD

}  // namespace raptly
