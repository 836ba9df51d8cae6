#include "text/normalize.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "raptly/error.h"
#include "text/utf8.h"

namespace raptly {
namespace {

constexpr std::size_t kMaxChars = std::size_t{1} << 28;

int combining_class(utf8proc_int32_t code) { return utf8proc_get_property(code)->combining_class; }

// Sorts each run of combining marks by class. utf8proc_decompose would do it too, but by swapping
// neighbours: 40,000 marks in falling order took it 6 s.
void reorder_marks(std::vector<utf8proc_int32_t>& codes) {
  std::vector<std::uint64_t> marks;
  std::vector<utf8proc_int32_t> run;
  for (std::size_t i = 0; i < codes.size();) {
    std::size_t end = i;
    while (end < codes.size() && combining_class(codes[end]) != 0) ++end;
    // Class, then place: std::sort does not keep the order of equals, and clang 19 refuses GCC 12's
    // std::stable_sort as deprecated.
    marks.clear();
    for (std::size_t k = i; k < end; ++k) {
      marks.push_back(static_cast<std::uint64_t>(combining_class(codes[k])) << 32 | (k - i));
    }
    std::sort(marks.begin(), marks.end());
    run.assign(codes.begin() + static_cast<std::ptrdiff_t>(i),
               codes.begin() + static_cast<std::ptrdiff_t>(end));
    for (std::size_t k = i; k < end; ++k) codes[k] = run[marks[k - i] & 0xFFFFFFFFu];
    i = end + 1;
  }
}

void compose_and_append(std::vector<utf8proc_int32_t>& codes, std::string& out) {
  reorder_marks(codes);
  const auto length =
      utf8proc_normalize_utf32(codes.data(), static_cast<utf8proc_ssize_t>(codes.size()),
                               static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
  for (utf8proc_ssize_t i = 0; i < length; ++i) {
    append_utf8(out, static_cast<std::uint32_t>(codes[static_cast<std::size_t>(i)]));
  }
  codes.clear();
}

}  // namespace

bool surely_nfc(std::string_view text) noexcept {
  // Nothing below U+0300 (lead byte CC) composes, decomposes or moves.
  return std::none_of(text.begin(), text.end(),
                      [](char c) { return static_cast<unsigned char>(c) >= 0xCC; });
}

std::string to_nfc(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  std::vector<utf8proc_int32_t> codes;
  while (!text.empty()) {
    const Utf8Char c = next_utf8(text);
    if (c.valid) {
      utf8proc_int32_t parts[32];
      int boundary = 0;
      const auto n = utf8proc_decompose_char(
          static_cast<utf8proc_int32_t>(c.code), parts, 32,
          static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE | UTF8PROC_STABLE), &boundary);
      codes.insert(codes.end(), parts, parts + n);
    } else {
      compose_and_append(codes, out);
      out += text.substr(0, c.length);
    }
    if (codes.size() > kMaxChars) {
      throw Error(ErrorCode::kInvalidArgument,
                  "[text] a text to normalise may have at most 2^28 characters.");
    }
    text.remove_prefix(c.length);
  }
  compose_and_append(codes, out);
  return out;
}

}  // namespace raptly
