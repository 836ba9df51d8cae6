// What needs Unicode tables: upper and lower case, and which characters repr() shows.
#include <utf8proc.h>

#include <algorithm>

#include "text/jinja_case_table.h"
#include "text/jinja_text.h"
#include "text/utf8.h"

namespace raptly::jinja {
namespace {

const SpecialUpper* special_upper(std::uint32_t code) {
  const auto at =
      std::lower_bound(kSpecialUpper.begin(), kSpecialUpper.end(), code,
                       [](const SpecialUpper& s, std::uint32_t c) { return s.code < c; });
  return at != kSpecialUpper.end() && at->code == code ? at : nullptr;
}

bool is_letter(const Utf8Char& c) {
  const utf8proc_category_t category = utf8proc_category(static_cast<utf8proc_int32_t>(c.code));
  return c.valid && category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LT;
}

// Greek sigma is written otherwise at the end of a word.
bool ends_word(std::string_view before, std::string_view after) {
  if (!after.empty() && is_letter(next_utf8(after))) return false;
  std::size_t i = before.size();
  while (i > 0 && (static_cast<unsigned char>(before[i - 1]) & 0xC0) == 0x80) --i;
  return i > 0 && is_letter(next_utf8(before.substr(i - 1)));
}

bool is_printable(std::uint32_t code) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(code))) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
      return code == ' ';
    default:
      return true;
  }
}

std::string escape_code(std::uint32_t code) {
  static constexpr std::string_view kDigits = "0123456789abcdef";
  const int digits = code < 0x100 ? 2 : code < 0x10000 ? 4 : 8;
  std::string out = digits == 2 ? "\\x" : digits == 4 ? "\\u" : "\\U";
  for (int i = digits - 1; i >= 0; --i) out.push_back(kDigits[(code >> (4 * i)) & 15]);
  return out;
}

}  // namespace

std::string upper(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const Utf8Char c = next_utf8(text);
    if (!c.valid) {
      out += text.substr(0, c.length);
    } else if (const SpecialUpper* special = special_upper(c.code)) {
      for (const std::uint32_t code : special->upper) {
        if (code != 0) append_utf8(out, code);
      }
    } else {
      const auto code = static_cast<utf8proc_int32_t>(c.code);
      append_utf8(out, static_cast<std::uint32_t>(utf8proc_toupper(code)));
    }
    text.remove_prefix(c.length);
  }
  return out;
}

std::string lower(std::string_view text) {
  static constexpr std::uint32_t kSigma = 0x3A3;
  static constexpr std::uint32_t kDottedI = 0x130;
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    const Utf8Char c = next_utf8(text.substr(i));
    if (!c.valid) {
      out += text.substr(i, c.length);
    } else if (c.code == kSigma) {
      append_utf8(out, ends_word(text.substr(0, i), text.substr(i + c.length)) ? 0x3C2 : 0x3C3);
    } else if (c.code == kDottedI) {
      out += "i\xCC\x87";  // i, U+0307
    } else {
      const auto code = static_cast<utf8proc_int32_t>(c.code);
      append_utf8(out, static_cast<std::uint32_t>(utf8proc_tolower(code)));
    }
    i += c.length;
  }
  return out;
}

std::string capitalize(std::string_view text) {
  const std::string_view first = first_char(text);
  if (first.empty()) return "";
  const Utf8Char c = next_utf8(first);
  std::string out;
  if (!c.valid) {
    out = first;
  } else if (special_upper(c.code) != nullptr) {
    const std::string both = upper(first);
    out = std::string(first_char(both)) + lower(both.substr(first_char(both).size()));
  } else {
    const auto code = static_cast<utf8proc_int32_t>(c.code);
    append_utf8(out, static_cast<std::uint32_t>(utf8proc_totitle(code)));
  }
  return out + lower(text.substr(first.size()));
}

std::string quoted(std::string_view text) {
  const bool single =
      text.find('\'') == std::string_view::npos || text.find('"') != std::string_view::npos;
  const char quote = single ? '\'' : '"';
  std::string out(1, quote);
  while (!text.empty()) {
    const Utf8Char c = next_utf8(text);
    if (c.code == '\\' || c.code == static_cast<unsigned char>(quote)) {
      out += {'\\', static_cast<char>(c.code)};
    } else if (c.code == '\n') {
      out += "\\n";
    } else if (c.code == '\r') {
      out += "\\r";
    } else if (c.code == '\t') {
      out += "\\t";
    } else if (c.valid && !is_printable(c.code)) {
      out += escape_code(c.code);
    } else {
      out += text.substr(0, c.length);
    }
    text.remove_prefix(c.length);
  }
  out.push_back(quote);
  return out;
}

}  // namespace raptly::jinja
