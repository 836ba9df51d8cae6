// Strings as Python sees them: a text is a sequence of characters (UTF-8 here; an invalid sequence
// counts as one character and is kept as it is).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace raptly::jinja {

// White space: what str.isspace() and \s of Python's re call so.
std::size_t leading_space(std::string_view text);  // bytes of white space at the start
std::string_view rstrip_space(std::string_view text);
std::string_view strip_space(std::string_view text);
// str.strip(chars) and its halves: characters that are in `chars` go.
std::string_view strip_chars(std::string_view text, std::string_view chars, bool left, bool right);

std::string_view first_char(std::string_view text);  // empty for an empty text
std::int64_t count_chars(std::string_view text);
std::vector<std::string_view> split_chars(std::string_view text);

std::string upper(std::string_view text);
std::string lower(std::string_view text);
std::string capitalize(std::string_view text);

std::vector<std::string_view> split_space(std::string_view text, std::int64_t max_splits);
// separator is not empty; max_splits < 0: no limit.
std::vector<std::string_view> split_at(std::string_view text, std::string_view separator,
                                       std::int64_t max_splits);
// str.replace; an empty `from` matches before each character and at the end. Nothing when the
// result would pass `limit` bytes.
std::optional<std::string> replace_all(std::string_view text, std::string_view from,
                                       std::string_view to, std::int64_t max_count,
                                       std::size_t limit);

std::string quoted(std::string_view text);  // repr() of a str
std::string float_repr(double value);       // repr() of a float
void append_json_string(std::string& out, std::string_view text, bool ensure_ascii);

// The inside of a string literal, escapes resolved as in Python. Throws as fail_syntax and
// fail_unsupported do.
std::string unescape(std::string_view text, int line);

}  // namespace raptly::jinja
