#include "text/char_classes.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "raptly/error.h"
#include "text/utf8.h"

namespace raptly {
namespace {

constexpr std::uint32_t kDirect = 0x10000;  // below: one lookup; above: a binary search

CharClass search(std::uint32_t code) {
  const auto changes = char_class_changes();
  const auto after =
      std::upper_bound(changes.begin(), changes.end(), code,
                       [](std::uint32_t c, const CharClassChange& x) { return c < x.code; });
  return after == changes.begin() ? CharClass::kOther : (after - 1)->char_class;
}

const std::vector<CharClass>& direct_table() {
  static const std::vector<CharClass> table = [] {
    std::vector<CharClass> t(kDirect, CharClass::kOther);
    const auto changes = char_class_changes();
    for (std::size_t i = 0; i < changes.size() && changes[i].code < kDirect; ++i) {
      const std::uint32_t end = i + 1 < changes.size() ? changes[i + 1].code : kDirect;
      std::fill(t.begin() + changes[i].code, t.begin() + std::min(end, kDirect),
                changes[i].char_class);
    }
    t[0x17F] = CharClass::kLongS;
    t[0x212A] = CharClass::kKelvin;
    return t;
  }();
  return table;
}

// What an escape of a published pattern stands for; `inside`: of brackets.
std::string expand_escape(std::string_view escape, bool inside) {
  static constexpr std::string_view kLetters = "A-Za-z\\x80\\x84\\x85";
  static constexpr std::string_view kNumbers = "0-9\\x81";
  static constexpr std::string_view kSpaces = "\\t-\\r \\x82";
  const auto set = [&](std::string_view members) {
    return inside ? std::string(members) : std::string("[").append(members).append("]");
  };
  if (escape == "\\p{L}") return set(kLetters);
  if (escape == "\\p{N}") return set(kNumbers);
  if (escape == kDigitPattern) return set(std::string(kNumbers).append("\\x86"));
  if (escape == "\\s") return set(kSpaces);
  if (escape == "\\S" && !inside) return std::string("[^").append(kSpaces).append("]");
  if (escape == "\\r" || escape == "\\n" || escape == "\\t") return std::string(escape);
  throw Error(ErrorCode::kNotSupported,
              "[text] a pre-tokenizer's pattern has " + std::string(escape) +
                  ". Known are \\p{L}, \\p{N}, \\s, \\S (outside brackets), \\r, \\n and \\t.");
}

}  // namespace

CharClass char_class(std::uint32_t code) {
  return code < kDirect ? direct_table()[code] : search(code);
}

std::size_t ascii_prefix(std::string_view text) noexcept {
  std::size_t i = 0;
  for (; i + 8 <= text.size(); i += 8) {
    std::uint64_t word;
    std::memcpy(&word, text.data() + i, 8);
    if ((word & 0x8080808080808080u) != 0) break;
  }
  while (i < text.size() && static_cast<unsigned char>(text[i]) < 0x80) ++i;
  return i;
}

void to_class_string(std::string_view text, ClassString& out) {
  out.classes.clear();
  out.lengths.clear();
  out.classes.reserve(text.size());
  out.lengths.reserve(text.size());
  const auto& direct = direct_table();
  while (!text.empty()) {
    if (const std::size_t n = ascii_prefix(text); n > 0) {
      out.classes.append(text, 0, n);
      out.lengths.insert(out.lengths.end(), n, 1);
      text.remove_prefix(n);
      continue;
    }
    const Utf8Char c = next_utf8(text);
    const CharClass of = c.code < kDirect ? direct[c.code] : search(c.code);
    out.classes.push_back(static_cast<char>(of));
    out.lengths.push_back(static_cast<std::uint8_t>(c.length));
    text.remove_prefix(c.length);
  }
}

std::string pattern_over_classes(std::string_view pattern) {
  std::string out;
  bool inside = false;     // of brackets
  int depth = 0;           // of parentheses
  int caseless_depth = 0;  // of the (?i: ) we are in; 0: none
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\\') {
      const bool property =
          i + 1 < pattern.size() && (pattern[i + 1] == 'p' || pattern[i + 1] == 'P');
      const std::size_t close = property ? pattern.find('}', i) : i + 1;
      const std::size_t length = close == std::string_view::npos ? close : close + 1 - i;
      const std::string_view escape = pattern.substr(i, length);
      out += expand_escape(escape, inside);
      i += escape.size() - 1;
      continue;
    }
    if (static_cast<unsigned char>(c) >= 0x80) {
      throw Error(ErrorCode::kNotSupported,
                  "[text] a pre-tokenizer's pattern has a character outside ASCII at offset " +
                      std::to_string(i) + ".");
    }
    if (inside) {
      inside = c != ']';
    } else if (c == '[') {
      inside = true;
    } else if (c == '(') {
      ++depth;
      if (pattern.substr(i, 4) == "(?i:") {
        caseless_depth = depth;
        out += "(?i:";
        i += 3;
        continue;
      }
    } else if (c == ')') {
      if (caseless_depth == depth) caseless_depth = 0;
      --depth;
    }
    const bool caseless = caseless_depth > 0 && !inside;
    if (caseless && (c == 's' || c == 'S')) {
      out += "[s\\x84]";
    } else if (caseless && (c == 'k' || c == 'K')) {
      out += "[k\\x85]";
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace raptly
