// Which characters a pre-tokenizer calls letters, numbers and spaces, and texts written as classes.
//
// The published patterns only ask for \p{L}, \p{N}, \s and some ASCII characters. A text is
// therefore matched as a *class string*, one byte a character: ASCII stands for itself, any other
// character is one of the bytes below. So ids do not depend on the Unicode version of the PCRE2
// that a machine has (14 in Debian 12, while HF tokenizers 0.23 knows Unicode 16: 9,392 letters and
// numbers more), nor on its \s, which has U+180E. It is as fast as PCRE2's own UTF mode (110
// against 119 MB/s of prose).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace raptly {

enum class CharClass : std::uint8_t {
  kLetter = 0x80,  // \p{L}
  kNumber = 0x81,  // \p{N}
  kSpace = 0x82,   // \s: White_Space, so U+0085 and U+00A0, but not U+180E
  kOther = 0x83,   // everything else; an invalid sequence too (it stands for U+FFFD)
  kLongS = 0x84,   // U+017F, a letter that equals "s" in (?i: )
  kKelvin = 0x85,  // U+212A, a letter that equals "k" in (?i: )
  kDigit =
      0x86,  // a digit to the Digits step (Unicode 17), not yet to \p{N} (Unicode 16): 13 of them
};

struct CharClassChange {
  std::uint32_t code;  // from here on, up to the next change
  CharClass char_class;
};
// From U+0080 (kOther) to U+10FFFF, ascending.
std::span<const CharClassChange> char_class_changes() noexcept;

CharClass char_class(std::uint32_t code);  // code >= 0x80

std::size_t ascii_prefix(
    std::string_view text) noexcept;  // how many bytes before the first >= 0x80

struct ClassString {
  std::string classes;                // one byte a character
  std::vector<std::uint8_t> lengths;  // how many bytes of the text each character has
};
// Overwrites `out`.
void to_class_string(std::string_view text, ClassString& out);

// What HF's step "Digits" cuts out, in the manner of a pattern.
inline constexpr std::string_view kDigitPattern = R"(\p{Digits})";

// A published pattern as PCRE2 reads it over class strings: \p{L}, \p{N}, \s, \S written out, and
// the two characters that case folding brings into (?i: ). kNotSupported names any other \p or
// \ class.
std::string pattern_over_classes(std::string_view pattern);

}  // namespace raptly
