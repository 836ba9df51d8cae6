// The text form of masks.
//   mask      = both { "|" both }
//   both      = term { "&" term }
//   term      = { "~" } ( "(" mask ")" | rule [ "(" [ argument { "," argument } ] ")" ] )
//   argument  = [ name "=" ] ( integer | "None" | text in quotes | list )
//   list      = "[" [ integer { "," integer } | list { "," list } ] "]"
#include <cctype>
#include <charconv>
#include <utility>

#include "mask/rule.h"
#include "mask/rule_arguments.h"
#include "mask/rule_table.h"
#include "raptly/error.h"
#include "raptly/mask.h"

namespace raptly {
namespace mask_detail {

#define RAPTLY_DECLARE_RULE(name) Mask parse_##name(RuleArguments& args);
RAPTLY_MASK_RULES(RAPTLY_DECLARE_RULE)
#undef RAPTLY_DECLARE_RULE

namespace {

constexpr std::size_t kMaxTextBytes = std::size_t{1} << 20;

struct RuleEntry {
  std::string_view name;
  Mask (*parse)(RuleArguments&);
};
constexpr RuleEntry kRules[] = {
#define RAPTLY_RULE_ENTRY(name) {#name, &parse_##name},
    RAPTLY_MASK_RULES(RAPTLY_RULE_ENTRY)
#undef RAPTLY_RULE_ENTRY
};

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Mask parse() {
    Mask mask = expression(1);
    skip_spaces();
    if (at_ < text_.size()) fail_here("expected &, | or the end of the text");
    return mask;
  }

 private:
  Mask expression(int depth) {
    if (depth > kMaxDepth) {
      fail_at(at_ + 1, "parentheses are more than " + std::to_string(kMaxDepth) + " deep.");
    }
    Mask mask = both(depth);
    for (std::size_t column = next_column(); accept('|'); column = next_column()) {
      const Mask right = both(depth);
      mask = with_column(column, [&] { return mask | right; });
    }
    return mask;
  }

  Mask both(int depth) {
    Mask mask = term(depth);
    for (std::size_t column = next_column(); accept('&'); column = next_column()) {
      const Mask right = term(depth);
      mask = with_column(column, [&] { return mask & right; });
    }
    return mask;
  }

  Mask term(int depth) {
    const std::size_t column = next_column();
    bool negated = false;  // counted, not nested: a text may hold a million ~
    while (accept('~')) negated = !negated;
    const Mask mask = plain_term(depth);
    return negated ? with_column(column, [&] { return ~mask; }) : mask;
  }

  Mask plain_term(int depth) {
    if (accept('(')) {
      Mask mask = expression(depth + 1);
      expect(')');
      return mask;
    }
    const std::size_t column = next_column();
    const std::string name = word();
    if (name.empty()) fail_here("expected a rule");
    for (const RuleEntry& rule : kRules) {
      if (rule.name != name) continue;
      RuleArguments args(name, column, arguments());
      Mask mask = with_column(column, [&] { return rule.parse(args); });
      args.check_all_read();
      return mask;
    }
    std::string known;
    for (const RuleEntry& rule : kRules)
      known += (known.empty() ? "" : ", ") + std::string(rule.name);
    const std::size_t end = text_.find_first_of(" \t\n&|~()[],=\"'", column - 1);
    fail_at(column, "there is no rule " +
                        shown(std::string(text_.substr(column - 1, end - (column - 1)))) +
                        ". The rules are " + known + ".");
  }

  std::vector<RuleArgument> arguments() {
    std::vector<RuleArgument> list;
    if (!accept('(') || accept(')')) return list;
    do {
      RuleArgument argument;
      argument.column = next_column();
      const std::size_t start = at_;
      argument.name = word();
      if (argument.name.empty() || !accept('=')) {
        at_ = start;
        argument.name.clear();
      }
      value(argument);
      list.push_back(std::move(argument));
    } while (accept(','));
    expect(')');
    return list;
  }

  void value(RuleArgument& argument) {
    if (accept('[')) {
      argument.value = list(1);
    } else if (accept('"') || accept('\'')) {
      const std::size_t end = text_.find(text_[at_ - 1], at_);
      if (end == std::string_view::npos) fail_at(at_, "this text has no closing quote.");
      argument.value = std::string(text_.substr(at_, end - at_));
      at_ = end + 1;
    } else if (const std::size_t start = at_; word() == "None") {
      argument.value = None{};
    } else {
      at_ = start;
      argument.value = integer();
    }
  }

  ArgumentList list(int depth) {
    if (depth > kMaxListDepth) {
      fail_at(at_, "lists are more than " + std::to_string(kMaxListDepth) + " deep.");
    }
    ArgumentList list;
    if (accept(']')) return list;
    do {
      if (list.integers.empty() && accept('[')) {
        list.lists.push_back(this->list(depth + 1));
      } else if (list.lists.empty()) {
        list.integers.push_back(integer());
      } else {
        fail_here("expected [");
      }
    } while (accept(','));
    expect(']');
    return list;
  }

  std::int64_t integer() {
    skip_spaces();
    std::int64_t value = 0;
    const char* begin = text_.data() + at_;
    const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), value);
    if (error == std::errc::result_out_of_range) {
      fail_at(at_ + 1, "this integer does not fit 64 bits.");
    }
    if (error != std::errc()) fail_here("expected an integer");
    at_ += static_cast<std::size_t>(end - begin);
    return value;
  }

  // Letters, digits and underscores; empty when there are none.
  std::string word() {
    skip_spaces();
    const std::size_t start = at_;
    while (at_ < text_.size() &&
           (std::isalnum(static_cast<unsigned char>(text_[at_])) || text_[at_] == '_')) {
      ++at_;
    }
    return std::string(text_.substr(start, at_ - start));
  }

  void skip_spaces() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n')) {
      ++at_;
    }
  }
  std::size_t next_column() {
    skip_spaces();
    return at_ + 1;
  }
  bool accept(char c) {
    skip_spaces();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) fail_here(std::string("expected ") + c);
  }
  [[noreturn]] void fail_here(const std::string& expected) const {
    const std::string found =
        at_ < text_.size() ? shown(std::string(text_.substr(at_, 1))) : "the end of the text";
    fail_at(at_ + 1, expected + ", found " + found + ".");
  }
  // A piece of the caller's text, short and printable.
  static std::string shown(const std::string& piece) {
    std::string out = "'";
    for (const char c : piece.substr(0, 32)) {
      out += std::isprint(static_cast<unsigned char>(c)) ? c : '?';
    }
    return out + (piece.size() > 32 ? "...'" : "'");
  }
  // Errors of the rules themselves gain the column of the rule.
  template <class F>
  static Mask with_column(std::size_t column, F&& make) {
    try {
      return make();
    } catch (const Error& error) {
      const std::string_view what = error.what();
      if (what.starts_with("[mask] column")) throw;
      const std::size_t skip = what.starts_with("[mask] ") ? 7 : 0;
      fail_at(column, std::string(what.substr(skip)));
    }
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace
}  // namespace mask_detail

Mask Mask::parse(std::string_view text) {
  if (text.size() > mask_detail::kMaxTextBytes) {
    throw Error(ErrorCode::kInvalidArgument,
                "[mask] the text has " + std::to_string(text.size()) + " bytes. At most " +
                    std::to_string(mask_detail::kMaxTextBytes) + " are allowed.");
  }
  return mask_detail::Parser(text).parse();
}

std::string Mask::to_string() const { return rule_ ? rule_->to_string() : "all"; }

bool operator==(const Mask& a, const Mask& b) {
  return a.rule_ == b.rule_ || a.to_string() == b.to_string();
}

}  // namespace raptly
