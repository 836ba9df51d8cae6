#include "text/jinja_lexer.h"

#include <algorithm>
#include <array>

#include "raptly/error.h"
#include "text/jinja_text.h"

namespace raptly::jinja {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_name_part(char c) { return is_name_start(c) || is_digit(c); }

// "\r\n" and "\r" become "\n"; one newline at the end is dropped (jinja2's default).
std::string normalize_newlines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out.push_back('\n');
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out.push_back(source[i]);
    }
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  std::vector<Token> run() {
    while (pos_ < source_.size()) next_piece();
    add(TokenType::kEof, "");
    return std::move(tokens_);
  }

 private:
  std::string_view rest() const { return std::string_view(source_).substr(pos_); }
  bool at(std::string_view text) const { return rest().starts_with(text); }

  void advance(std::size_t n) {
    line_ +=
        static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(pos_),
                                    source_.begin() + static_cast<std::ptrdiff_t>(pos_ + n), '\n'));
    pos_ += n;
    if (n > 0) line_starting_ = source_[pos_ - 1] == '\n';
  }

  void add(TokenType type, std::string value) {
    tokens_.push_back(Token{type, line_, std::move(value)});
  }

  void skip_space() { advance(leading_space(rest())); }

  // Text up to the next tag, then the tag.
  void next_piece() {
    const std::size_t open = find_tag(pos_);
    std::string_view text = rest().substr(0, open == std::string::npos ? open : open - pos_);
    if (open == std::string::npos) {
      add(TokenType::kData, std::string(text));
      advance(text.size());
      return;
    }
    const char kind = source_[open + 1];
    const char sign = open + 2 < source_.size() ? source_[open + 2] : '\0';
    const std::string_view kept = strip_before_tag(text, kind, sign);
    if (!kept.empty()) add(TokenType::kData, std::string(kept));
    advance(text.size() + 2 + (sign == '-' || sign == '+' ? 1 : 0));
    if (kind == '#') return comment();
    if (kind == '{') {
      add(TokenType::kVariableBegin, "{{");
      return inside(kind);
    }
    if (raw()) return;
    add(TokenType::kBlockBegin, "{%");
    inside(kind);
  }

  std::size_t find_tag(std::size_t from) const {
    for (std::size_t i = source_.find('{', from); i != std::string::npos;
         i = source_.find('{', i + 1)) {
      if (i + 1 >= source_.size()) break;
      const char next = source_[i + 1];
      if (next == '{' || next == '%' || next == '#') return i;
    }
    return std::string::npos;
  }

  std::string_view strip_before_tag(std::string_view text, char kind, char sign) const {
    if (sign == '-') return rstrip_space(text);
    if (sign == '+' || kind == '{') return text;
    const std::size_t newline = text.rfind('\n');
    const std::size_t line_start = newline == std::string_view::npos ? 0 : newline + 1;
    if (line_start == 0 && !line_starting_) return text;
    const std::string_view last = text.substr(line_start);
    return leading_space(last) == last.size() ? text.substr(0, line_start) : text;
  }

  // What follows a closing "%}" or "#}": with trim_blocks one newline goes.
  void after_close(std::size_t n) {
    advance(n);
    if (at("\n")) advance(1);
  }

  void comment() {
    const std::size_t close = source_.find("#}", pos_);
    if (close == std::string::npos) fail_syntax(line_, "Missing end of comment tag.");
    const char before = close > pos_ ? source_[close - 1] : '\0';
    if (before == '-') {
      advance(close + 2 - pos_);
      skip_space();
    } else if (before == '+') {
      advance(close + 2 - pos_);
    } else {
      after_close(close + 2 - pos_);
    }
  }

  // {% raw %}: called behind "{%" and its sign; false when the block is another one.
  bool raw() {
    std::string_view s = rest();
    std::size_t n = leading_space(s);
    if (!s.substr(n).starts_with("raw")) return false;
    n += 3;
    n += leading_space(s.substr(n));
    if (s.substr(n).starts_with("-%}")) {
      advance(n + 3);
      skip_space();
    } else if (s.substr(n).starts_with("%}")) {
      advance(n + 2);
    } else {
      return false;
    }
    raw_body();
    return true;
  }

  void raw_body() {
    const int begin = line_;
    for (std::size_t i = source_.find("{%", pos_); i != std::string::npos;
         i = source_.find("{%", i + 1)) {
      const std::string_view tag = std::string_view(source_).substr(i);
      const char sign = tag.size() > 2 ? tag[2] : '\0';
      std::size_t n = sign == '-' || sign == '+' ? 3 : 2;
      n += leading_space(tag.substr(n));
      if (!tag.substr(n).starts_with("endraw")) continue;
      n += 6;
      n += leading_space(tag.substr(n));
      const bool plus = tag.substr(n).starts_with("+%}");
      const bool minus = tag.substr(n).starts_with("-%}");
      if (!plus && !minus && !tag.substr(n).starts_with("%}")) continue;
      const std::string_view kept = strip_before_tag(rest().substr(0, i - pos_), '%', sign);
      if (!kept.empty()) add(TokenType::kData, std::string(kept));
      advance(i - pos_ + n);
      if (minus) {
        advance(3);
        skip_space();
      } else if (plus) {
        advance(3);
      } else {
        after_close(2);
      }
      return;
    }
    fail_syntax(begin, "Missing end of raw directive.");
  }

  // The tokens of one {{ }} or {% %}, its end included.
  void inside(char kind) {
    std::string open;  // brackets not yet closed
    for (;;) {
      skip_space();
      if (pos_ >= source_.size()) {
        fail_syntax(line_, kind == '{' ? "A \"{{\" is never closed." : "A \"{%\" is never closed.");
      }
      if (open.empty() && close_tag(kind)) return;
      const char c = source_[pos_];
      if (is_digit(c)) {
        number();
      } else if (is_name_start(c)) {
        name();
      } else if (c == '\'' || c == '"') {
        string();
      } else {
        operator_token(open);
      }
    }
  }

  bool close_tag(char kind) {
    const std::string_view end = kind == '{' ? "}}" : "%}";
    const TokenType type = kind == '{' ? TokenType::kVariableEnd : TokenType::kBlockEnd;
    const bool signed_end = at("-") || (kind == '%' && at("+"));
    if (!rest().substr(signed_end ? 1 : 0).starts_with(end)) return false;
    add(type, std::string(end));
    if (at("-")) {
      advance(3);
      skip_space();
    } else if (signed_end) {
      advance(3);
    } else if (kind == '%') {
      after_close(2);
    } else {
      advance(2);
    }
    return true;
  }

  void name() {
    std::size_t end = pos_;
    while (end < source_.size() && is_name_part(source_[end])) ++end;
    if (end < source_.size() && static_cast<unsigned char>(source_[end]) >= 0x80) {
      fail_unsupported(line_, "a name with a character beyond ASCII. Names are A-Z a-z 0-9 _.");
    }
    add(TokenType::kName, source_.substr(pos_, end - pos_));
    advance(end - pos_);
  }

  std::size_t digits(std::size_t i) const {  // "12_000": an underscore stands between digits
    while (i < source_.size() &&
           (is_digit(source_[i]) || (source_[i] == '_' && i + 1 < source_.size() &&
                                     is_digit(source_[i + 1]) && is_digit(source_[i - 1])))) {
      ++i;
    }
    return i;
  }

  void number() {
    const std::size_t next = pos_ + 1;
    if (source_[pos_] == '0' && next < source_.size() && is_name_start(source_[next])) {
      fail_unsupported(line_, "a number that starts with \"0" + std::string(1, source_[next]) +
                                  "\". Numbers are decimal.");
    }
    std::size_t end = digits(pos_);
    bool is_float = false;
    const bool after_dot = pos_ > 0 && source_[pos_ - 1] == '.';  // "a.0.1": two subscripts
    const auto digit_at = [&](std::size_t i) { return i < source_.size() && is_digit(source_[i]); };
    if (!after_dot && end < source_.size() && source_[end] == '.' && digit_at(end + 1)) {
      end = digits(end + 1);
      is_float = true;
    }
    if (!after_dot && end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
      const bool sign =
          end + 1 < source_.size() && (source_[end + 1] == '+' || source_[end + 1] == '-');
      if (digit_at(end + 1 + (sign ? 1 : 0))) {
        end = digits(end + 1 + (sign ? 1 : 0));
        is_float = true;
      }
    }
    std::string value = source_.substr(pos_, end - pos_);
    std::erase(value, '_');
    if (!is_float && value.size() > 1 && value[0] == '0' &&
        value.find_first_not_of('0') != std::string::npos) {
      fail_syntax(line_, "A number with a leading zero.");
    }
    add(is_float ? TokenType::kFloat : TokenType::kInteger, std::move(value));
    advance(end - pos_);
  }

  void string() {
    const char quote = source_[pos_];
    std::size_t end = pos_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) fail_syntax(line_, "A string is never closed.");
    add(TokenType::kString,
        unescape(std::string_view(source_).substr(pos_ + 1, end - pos_ - 1), line_));
    advance(end + 1 - pos_);
  }

  void operator_token(std::string& open) {
    static constexpr std::array<std::string_view, 26> kOperators = {
        "**", "//", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
        "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
    const auto found = std::find_if(kOperators.begin(), kOperators.end(),
                                    [&](std::string_view op) { return at(op); });
    if (found == kOperators.end()) {
      fail_syntax(line_, "Unexpected character " + quoted(first_char(rest())) + ".");
    }
    const std::string_view op = *found;
    if (op == "(" || op == "[" || op == "{")
      open.push_back(op == "(" ? ')' : op == "[" ? ']' : '}');
    if (op == ")" || op == "]" || op == "}") {
      if (open.empty()) fail_syntax(line_, "Unexpected '" + std::string(op) + "'.");
      if (open.back() != op[0]) {
        fail_syntax(line_, "Unexpected '" + std::string(op) + "', expected '" +
                               std::string(1, open.back()) + "'.");
      }
      open.pop_back();
    }
    add(TokenType::kOperator, std::string(op));
    advance(op.size());
  }

  std::string source_;
  std::size_t pos_ = 0;
  int line_ = 1;
  bool line_starting_ = true;  // what stands before pos_ ends a line
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source) {
  return Lexer(normalize_newlines(source)).run();
}

std::string at_line(int line, std::string_view message) {
  return "[chat_template] line " + std::to_string(line) + ": " + std::string(message);
}

void fail_syntax(int line, std::string_view message) {
  throw Error(ErrorCode::kInvalidArgument, at_line(line, message));
}

void fail_unsupported(int line, std::string_view message) {
  throw Error(ErrorCode::kNotSupported, at_line(line, "not supported: " + std::string(message)));
}

}  // namespace raptly::jinja
