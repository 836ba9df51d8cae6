#include <algorithm>
#include <array>
#include <charconv>

#include "text/jinja_builtins.h"
#include "text/jinja_parser.h"

namespace raptly::jinja {
namespace {

struct CompareName {
  std::string_view text;
  CompareOp op;
};
constexpr std::array<CompareName, 6> kCompareOps = {{{"==", CompareOp::kEqual},
                                                     {"!=", CompareOp::kNotEqual},
                                                     {"<", CompareOp::kLess},
                                                     {"<=", CompareOp::kLessEqual},
                                                     {">", CompareOp::kGreater},
                                                     {">=", CompareOp::kGreaterEqual}}};

class NestingGuard {
 public:
  NestingGuard(int& depth, int line) : depth_(depth) {
    if (++depth_ > kMaxDepth) {
      --depth_;
      fail_unsupported(line, "expressions nested deeper than " + std::to_string(kMaxDepth) + ".");
    }
  }
  ~NestingGuard() { --depth_; }
  NestingGuard(const NestingGuard&) = delete;
  NestingGuard& operator=(const NestingGuard&) = delete;

 private:
  int& depth_;
};

}  // namespace

ExprPtr ExpressionParser::make(ExprKind kind, int line) {
  auto e = std::make_unique<Expr>();
  e->kind = kind;
  e->line = line;
  return e;
}

void ExpressionParser::check_child(Expr& parent, const Expr& child) {
  if (child.kind == ExprKind::kFilter && child.name == "safe") {
    fail_unsupported(child.line, "the filter 'safe' elsewhere than at the end of an output.");
  }
  parent.depth = std::max(parent.depth, child.depth + 1);
  if (parent.depth > kMaxDepth) {
    fail_unsupported(child.line,
                     "expressions nested deeper than " + std::to_string(kMaxDepth) + ".");
  }
}

void ExpressionParser::adopt(Expr& parent, ExprPtr child) {
  if (child) check_child(parent, *child);
  parent.args.push_back(std::move(child));
}

ExprPtr ExpressionParser::binary(BinaryOp op, int line, ExprPtr left, ExprPtr right) {
  ExprPtr e = make(ExprKind::kBinary, line);
  e->op = op;
  adopt(*e, std::move(left));
  adopt(*e, std::move(right));
  return e;
}

bool ExpressionParser::at_tuple_end() const {
  return tokens_.is(TokenType::kVariableEnd) || tokens_.is(TokenType::kBlockEnd) ||
         tokens_.is_operator(")");
}

ExprPtr ExpressionParser::tuple(bool conditionals) {
  const int line = tokens_.line();
  ExprPtr first = conditionals ? expression() : or_expression();
  if (!tokens_.is_operator(",")) return first;
  ExprPtr e = make(ExprKind::kTuple, line);
  adopt(*e, std::move(first));
  while (tokens_.skip_operator(",") && !at_tuple_end()) {
    adopt(*e, conditionals ? expression() : or_expression());
  }
  return e;
}

ExprPtr ExpressionParser::expression() {
  const NestingGuard guard(nesting_, tokens_.line());
  ExprPtr value = or_expression();
  while (tokens_.is_name("if")) {
    ExprPtr e = make(ExprKind::kConditional, tokens_.next().line);
    adopt(*e, std::move(value));
    adopt(*e, or_expression());
    adopt(*e, tokens_.skip_name("else") ? expression() : nullptr);
    value = std::move(e);
  }
  return value;
}

ExprPtr ExpressionParser::or_expression() {
  ExprPtr left = and_expression();
  while (tokens_.is_name("or")) {
    ExprPtr e = make(ExprKind::kOr, tokens_.next().line);
    adopt(*e, std::move(left));
    adopt(*e, and_expression());
    left = std::move(e);
  }
  return left;
}

ExprPtr ExpressionParser::and_expression() {
  ExprPtr left = not_expression();
  while (tokens_.is_name("and")) {
    ExprPtr e = make(ExprKind::kAnd, tokens_.next().line);
    adopt(*e, std::move(left));
    adopt(*e, not_expression());
    left = std::move(e);
  }
  return left;
}

ExprPtr ExpressionParser::not_expression() {
  const NestingGuard guard(nesting_, tokens_.line());
  if (!tokens_.is_name("not")) return comparison();
  ExprPtr e = make(ExprKind::kNot, tokens_.next().line);
  adopt(*e, not_expression());
  return e;
}

ExprPtr ExpressionParser::comparison() {
  const int line = tokens_.line();
  ExprPtr first = sum();
  ExprPtr chain;
  for (;;) {
    CompareOp op{};
    const auto found =
        std::find_if(kCompareOps.begin(), kCompareOps.end(),
                     [&](const CompareName& c) { return tokens_.is_operator(c.text); });
    if (found != kCompareOps.end()) {
      op = found->op;
      tokens_.next();
    } else if (tokens_.skip_name("in")) {
      op = CompareOp::kIn;
    } else if (tokens_.is_name("not") && tokens_.peek(1).type == TokenType::kName &&
               tokens_.peek(1).value == "in") {
      tokens_.next();
      tokens_.next();
      op = CompareOp::kNotIn;
    } else {
      return chain ? std::move(chain) : std::move(first);
    }
    if (!chain) {
      chain = make(ExprKind::kCompare, line);
      adopt(*chain, std::move(first));
    }
    chain->compare_ops.push_back(op);
    adopt(*chain, sum());
  }
}

ExprPtr ExpressionParser::sum() {
  ExprPtr left = concatenation();
  while (tokens_.is_operator("+") || tokens_.is_operator("-")) {
    const Token op = tokens_.next();
    left = binary(op.value == "+" ? BinaryOp::kAdd : BinaryOp::kSubtract, op.line, std::move(left),
                  concatenation());
  }
  return left;
}

ExprPtr ExpressionParser::concatenation() {
  ExprPtr first = product();
  if (!tokens_.is_operator("~")) return first;
  ExprPtr e = make(ExprKind::kConcat, tokens_.line());
  adopt(*e, std::move(first));
  while (tokens_.skip_operator("~")) adopt(*e, product());
  return e;
}

ExprPtr ExpressionParser::product() {
  ExprPtr left = unary(true);
  for (;;) {
    BinaryOp op{};
    if (tokens_.is_operator("*")) {
      op = BinaryOp::kMultiply;
    } else if (tokens_.is_operator("/")) {
      op = BinaryOp::kDivide;
    } else if (tokens_.is_operator("//")) {
      op = BinaryOp::kFloorDivide;
    } else if (tokens_.is_operator("%")) {
      op = BinaryOp::kModulo;
    } else if (tokens_.is_operator("**")) {
      fail_unsupported(tokens_.line(), "the operator **.");
    } else {
      return left;
    }
    const int line = tokens_.next().line;
    left = binary(op, line, std::move(left), unary(true));
  }
}

ExprPtr ExpressionParser::unary(bool with_filters) {
  const NestingGuard guard(nesting_, tokens_.line());
  ExprPtr e;
  if (tokens_.is_operator("-") || tokens_.is_operator("+")) {
    const Token sign = tokens_.next();
    e = make(sign.value == "-" ? ExprKind::kNegate : ExprKind::kPlus, sign.line);
    adopt(*e, unary(false));
  } else {
    e = primary();
  }
  e = postfix(std::move(e));
  while (with_filters) {
    if (tokens_.is_operator("|")) {
      e = filter(std::move(e));
    } else if (tokens_.is_name("is")) {
      e = test(std::move(e));
    } else if (tokens_.is_operator("(")) {
      e = call(std::move(e));
    } else {
      break;
    }
  }
  return e;
}

ExprPtr ExpressionParser::primary() {
  const Token token = tokens_.peek();
  if (token.type == TokenType::kOperator) {
    if (token.value == "(") return parenthesized();
    if (token.value == "[") return list_literal();
    if (token.value == "{") return dict_literal();
  }
  ExprPtr e = make(ExprKind::kConstant, token.line);
  if (token.type == TokenType::kName) {
    tokens_.next();
    if (token.value == "true" || token.value == "True") {
      e->constant = Value::boolean(true);
    } else if (token.value == "false" || token.value == "False") {
      e->constant = Value::boolean(false);
    } else if (token.value == "none" || token.value == "None") {
      e->constant = Value::none();
    } else {
      if (!macros_.empty() && (token.value == "varargs" || token.value == "kwargs")) {
        fail_unsupported(token.line, "the variable '" + token.value + "' of macros.");
      }
      const bool loop = loops_ > 0 && token.value == "loop";
      if (loop && !tokens_.is_operator(".")) {
        fail_unsupported(token.line, "'loop' as a value. Use loop.index, loop.first and so on.");
      }
      e->kind = loop ? ExprKind::kLoop : ExprKind::kName;
      e->name = token.value;
    }
    return e;
  }
  if (token.type == TokenType::kString) {
    std::string text;
    while (tokens_.is(TokenType::kString)) text += tokens_.next().value;
    e->constant = Value::text(std::move(text));
    return e;
  }
  const char* begin = token.value.data();
  const char* end = begin + token.value.size();
  if (token.type == TokenType::kInteger) {
    std::int64_t i = 0;
    if (std::from_chars(begin, end, i).ec != std::errc()) {
      fail_unsupported(token.line, "an integer beyond 64 bits: " + token.value + ".");
    }
    e->constant = Value::integer(i);
  } else if (token.type == TokenType::kFloat) {
    double d = 0;
    if (std::from_chars(begin, end, d).ec != std::errc()) {
      fail_unsupported(token.line, "a number beyond the range of doubles: " + token.value + ".");
    }
    e->constant = Value::real(d);
  } else {
    tokens_.fail_expected("an expression");
  }
  tokens_.next();
  return e;
}

ExprPtr ExpressionParser::parenthesized() {
  const int line = tokens_.next().line;
  if (tokens_.skip_operator(")")) return make(ExprKind::kTuple, line);
  ExprPtr e = tuple(true);
  tokens_.expect_operator(")");
  return e;
}

ExprPtr ExpressionParser::list_literal() {
  ExprPtr e = make(ExprKind::kList, tokens_.next().line);
  while (!tokens_.is_operator("]")) {
    if (!e->args.empty()) {
      tokens_.expect_operator(",");
      if (tokens_.is_operator("]")) break;
    }
    adopt(*e, expression());
  }
  tokens_.expect_operator("]");
  return e;
}

ExprPtr ExpressionParser::dict_literal() {
  ExprPtr e = make(ExprKind::kDict, tokens_.next().line);
  while (!tokens_.is_operator("}")) {
    if (!e->args.empty()) {
      tokens_.expect_operator(",");
      if (tokens_.is_operator("}")) break;
    }
    adopt(*e, expression());
    tokens_.expect_operator(":");
    adopt(*e, expression());
  }
  tokens_.expect_operator("}");
  return e;
}

}  // namespace raptly::jinja
