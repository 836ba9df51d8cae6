// Jinja source to tokens, cut where jinja2 cuts with trim_blocks and lstrip_blocks: a newline right
// after a block or comment is dropped, blanks between the start of a line and a block or comment
// too; `-` strips all white space on its side, `+` switches lstrip_blocks off for that tag.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace raptly::jinja {

enum class TokenType {
  kData,           // text between tags
  kVariableBegin,  // {{
  kVariableEnd,    // }}
  kBlockBegin,     // {%
  kBlockEnd,       // %}
  kName,
  kString,   // value: with escapes resolved
  kInteger,  // value: as written, underscores removed
  kFloat,    // value: as written, underscores removed
  kOperator,
  kEof,
};

struct Token {
  TokenType type;
  int line;
  std::string value;
};

// Throws kInvalidArgument (broken syntax) and kNotSupported, naming the line. The last token is
// kEof.
std::vector<Token> tokenize(std::string_view source);

// "[chat_template] line 3: message"
std::string at_line(int line, std::string_view message);
[[noreturn]] void fail_syntax(int line, std::string_view message);       // kInvalidArgument
[[noreturn]] void fail_unsupported(int line, std::string_view message);  // kNotSupported

}  // namespace raptly::jinja
