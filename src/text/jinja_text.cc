#include "text/jinja_text.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "text/jinja_lexer.h"
#include "text/utf8.h"

namespace raptly::jinja {
namespace {

bool is_space(std::uint32_t c) {
  if (c < 0x80) return (c >= 9 && c <= 13) || (c >= 28 && c <= 32);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_space(const Utf8Char& c) { return c.valid && is_space(c.code); }

// The last character of a text that is not empty.
std::string_view last_char(std::string_view text) {
  for (std::size_t n = 1; n <= std::min<std::size_t>(4, text.size()); ++n) {
    const std::string_view tail = text.substr(text.size() - n);
    const Utf8Char c = next_utf8(tail);
    if (c.valid && c.length == n) return tail;
  }
  return text.substr(text.size() - 1);
}

std::string hex(std::uint32_t code, int digits) {
  static constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  for (int i = digits - 1; i >= 0; --i) out.push_back(kDigits[(code >> (4 * i)) & 15]);
  return out;
}

}  // namespace

std::size_t leading_space(std::string_view text) {
  std::size_t n = 0;
  while (n < text.size()) {
    const Utf8Char c = next_utf8(text.substr(n));
    if (!is_space(c)) break;
    n += c.length;
  }
  return n;
}

std::string_view rstrip_space(std::string_view text) {
  while (!text.empty()) {
    const std::string_view last = last_char(text);
    if (!is_space(next_utf8(last))) break;
    text.remove_suffix(last.size());
  }
  return text;
}

std::string_view strip_space(std::string_view text) {
  return rstrip_space(text.substr(leading_space(text)));
}

std::string_view strip_chars(std::string_view text, std::string_view chars, bool left, bool right) {
  std::vector<std::string_view> set = split_chars(chars);
  std::sort(set.begin(), set.end());
  const auto in_set = [&](std::string_view c) {
    return std::binary_search(set.begin(), set.end(), c);
  };
  while (left && !text.empty() && in_set(first_char(text))) {
    text.remove_prefix(first_char(text).size());
  }
  while (right && !text.empty() && in_set(last_char(text))) {
    text.remove_suffix(last_char(text).size());
  }
  return text;
}

std::string_view first_char(std::string_view text) {
  return text.empty() ? text : text.substr(0, next_utf8(text).length);
}

std::int64_t count_chars(std::string_view text) {
  std::int64_t n = 0;
  for (; !text.empty(); ++n) text.remove_prefix(next_utf8(text).length);
  return n;
}

std::vector<std::string_view> split_chars(std::string_view text) {
  std::vector<std::string_view> out;
  while (!text.empty()) {
    out.push_back(first_char(text));
    text.remove_prefix(out.back().size());
  }
  return out;
}

std::vector<std::string_view> split_space(std::string_view text, std::int64_t max_splits) {
  std::vector<std::string_view> out;
  text.remove_prefix(leading_space(text));
  while (!text.empty()) {
    if (max_splits >= 0 && static_cast<std::int64_t>(out.size()) == max_splits) {
      out.push_back(rstrip_space(text));
      break;
    }
    std::size_t n = 0;
    while (n < text.size()) {
      const Utf8Char c = next_utf8(text.substr(n));
      if (is_space(c)) break;
      n += c.length;
    }
    out.push_back(text.substr(0, n));
    text.remove_prefix(n);
    text.remove_prefix(leading_space(text));
  }
  return out;
}

std::vector<std::string_view> split_at(std::string_view text, std::string_view separator,
                                       std::int64_t max_splits) {
  std::vector<std::string_view> out;
  while (max_splits < 0 || static_cast<std::int64_t>(out.size()) < max_splits) {
    const std::size_t at = text.find(separator);
    if (at == std::string_view::npos) break;
    out.push_back(text.substr(0, at));
    text.remove_prefix(at + separator.size());
  }
  out.push_back(text);
  return out;
}

std::optional<std::string> replace_all(std::string_view text, std::string_view from,
                                       std::string_view to, std::int64_t max_count,
                                       std::size_t limit) {
  std::string out;
  std::int64_t done = 0;
  const auto may = [&] { return max_count < 0 || done < max_count; };
  while (out.size() <= limit) {
    if (from.empty()) {
      if (may()) {
        out += to;
        ++done;
      }
      if (text.empty()) return out.size() <= limit ? std::optional(out) : std::nullopt;
      const std::string_view c = first_char(text);
      out += c;
      text.remove_prefix(c.size());
      continue;
    }
    const std::size_t at = may() ? text.find(from) : std::string_view::npos;
    out += text.substr(0, at);
    if (at == std::string_view::npos) {
      return out.size() <= limit ? std::optional(out) : std::nullopt;
    }
    out += to;
    ++done;
    text.remove_prefix(at + from.size());
  }
  return std::nullopt;
}

std::string float_repr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[32];
  const auto end =
      std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific).ptr;
  const std::string_view text(buffer, static_cast<std::size_t>(end - buffer));
  const std::size_t e = text.find('e');
  int exponent = 0;
  const char* digits_begin = text.data() + e + 1 + (text[e + 1] == '+' ? 1 : 0);
  std::from_chars(digits_begin, end, exponent);
  // repr() writes 1e-05 and 1e+16, and plain digits between them.
  if (exponent < -4 || exponent >= 16) {
    std::string out(text.substr(0, e));
    out += exponent < 0 ? "e-" : "e+";
    const std::string magnitude = std::to_string(std::abs(exponent));
    return out + (magnitude.size() < 2 ? "0" : "") + magnitude;
  }
  std::string digits(text.substr(0, e));
  const bool negative = digits[0] == '-';
  if (negative) digits.erase(0, 1);
  std::erase(digits, '.');
  std::string out = negative ? "-" : "";
  if (exponent < 0) {
    return out + "0." + std::string(static_cast<std::size_t>(-exponent - 1), '0') + digits;
  }
  const std::size_t whole = static_cast<std::size_t>(exponent) + 1;
  if (digits.size() <= whole) {
    return out + digits + std::string(whole - digits.size(), '0') + ".0";
  }
  return out + digits.substr(0, whole) + "." + digits.substr(whole);
}

void append_json_string(std::string& out, std::string_view text, bool ensure_ascii) {
  out.push_back('"');
  while (!text.empty()) {
    const Utf8Char c = next_utf8(text);
    switch (c.code) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      default:
        if (c.code < 0x20 || (ensure_ascii && c.code >= 0x7F && c.code < 0x10000)) {
          out += "\\u" + hex(c.code, 4);
        } else if (ensure_ascii && c.code >= 0x10000) {
          const std::uint32_t v = c.code - 0x10000;
          out += "\\u" + hex(0xD800 + (v >> 10), 4) + "\\u" + hex(0xDC00 + (v & 0x3FF), 4);
        } else {
          out += text.substr(0, c.length);
        }
    }
    text.remove_prefix(c.length);
  }
  out.push_back('"');
}

namespace {

// How many hexadecimal digits an escape wants; 0: it is no such escape.
std::size_t hex_digits(char c) { return c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0; }

// "\x41", "\101" behind their backslash; returns how many bytes were read.
std::size_t numeric_escape(std::string_view text, int line, std::string& out) {
  std::uint32_t code = 0;
  std::size_t n = 0;
  if (const std::size_t want = hex_digits(text[0]); want > 0) {
    const char* begin = text.data() + 1;
    const char* end = begin + std::min(want, text.size() - 1);
    const auto read = std::from_chars(begin, end, code, 16);
    if (read.ptr != begin + want || read.ec != std::errc()) {
      fail_syntax(line, "A truncated \\" + std::string(1, text[0]) + " escape in a string.");
    }
    n = want + 1;
  } else {
    while (n < 3 && n < text.size() && text[n] >= '0' && text[n] <= '7') {
      code = code * 8 + static_cast<std::uint32_t>(text[n] - '0');
      ++n;
    }
  }
  if (code > 0x10FFFF) fail_syntax(line, "An escape beyond U+10FFFF in a string.");
  if (code >= 0xD800 && code < 0xE000) {
    fail_unsupported(line, "a surrogate escape in a string. Write the character itself.");
  }
  append_utf8(out, code);
  return n;
}

}  // namespace

std::string unescape(std::string_view text, int line) {
  static constexpr std::string_view kFrom = "nrtabfv\\'\"";
  static constexpr std::string_view kTo = "\n\r\t\a\b\f\v\\'\"";
  std::string out;
  while (!text.empty()) {
    const std::size_t slash = text.find('\\');
    out += text.substr(0, slash);
    if (slash == std::string_view::npos) break;
    text.remove_prefix(slash + 1);  // a literal never ends in a lone backslash
    const char c = text[0];
    if (const std::size_t i = kFrom.find(c); i != std::string_view::npos) {
      out.push_back(kTo[i]);
      text.remove_prefix(1);
    } else if (hex_digits(c) > 0 || (c >= '0' && c <= '7')) {
      text.remove_prefix(numeric_escape(text, line, out));
    } else if (c == '\n') {  // a line goes on
      text.remove_prefix(1);
    } else if (c == 'N' || static_cast<unsigned char>(c) >= 0x80) {
      fail_unsupported(line, "the escape \\" + std::string(first_char(text)) + " in a string.");
    } else {
      out.push_back('\\');
    }
  }
  return out;
}

}  // namespace raptly::jinja
