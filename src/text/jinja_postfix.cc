// Expressions, what follows an operand: attributes, subscripts, calls, filters, tests.
#include <algorithm>
#include <array>

#include "text/jinja_builtins.h"
#include "text/jinja_parser.h"

namespace raptly::jinja {
namespace {

constexpr std::array<std::string_view, 11> kLoopAttributes = {
    "index",  "index0", "revindex", "revindex0", "first",   "last",
    "length", "depth",  "depth0",   "previtem",  "nextitem"};

bool is_loop_attribute(std::string_view name) {
  return std::find(kLoopAttributes.begin(), kLoopAttributes.end(), name) != kLoopAttributes.end();
}

}  // namespace

ExprPtr ExpressionParser::postfix(ExprPtr operand) {
  for (;;) {
    if (tokens_.is_operator(".")) {
      operand = attribute(std::move(operand));
    } else if (tokens_.is_operator("[")) {
      operand = subscript(std::move(operand));
    } else if (tokens_.is_operator("(")) {
      operand = call(std::move(operand));
    } else {
      return operand;
    }
  }
}

ExprPtr ExpressionParser::attribute(ExprPtr operand) {
  const int line = tokens_.next().line;
  if (tokens_.is(TokenType::kInteger)) {
    ExprPtr e = make(ExprKind::kItem, line);
    adopt(*e, std::move(operand));
    adopt(*e, primary());
    return e;
  }
  const std::string name = tokens_.expect_name();
  if (name.starts_with("_")) {
    fail_unsupported(line, "the attribute '" + name + "': names with a leading underscore.");
  }
  if (operand->kind == ExprKind::kLoop && operand->name == "loop") {
    const bool cycle = name == "cycle" && tokens_.is_operator("(");
    if (!cycle && !is_loop_attribute(name)) fail_unsupported(line, "loop." + name + ".");
    operand->name = name;
    if (cycle) call_arguments(*operand);
    return operand;
  }
  ExprPtr e = make(ExprKind::kAttribute, line);
  e->name = name;
  adopt(*e, std::move(operand));
  return e;
}

ExprPtr ExpressionParser::subscript(ExprPtr operand) {
  const int line = tokens_.next().line;
  ExprPtr parts[3];
  int n = 0;
  bool colon = false;
  for (; n < 3; ++n) {
    if (!tokens_.is_operator(":") && !tokens_.is_operator("]") && !tokens_.is_operator(",")) {
      parts[n] = expression();
    }
    if (!tokens_.is_operator(":")) break;
    if (n == 2) tokens_.fail_expected("']'");
    tokens_.next();
    colon = true;
  }
  if (tokens_.is_operator(",")) fail_unsupported(line, "a subscript with a comma.");
  if (!colon && !parts[0]) tokens_.fail_expected("a subscript");
  tokens_.expect_operator("]");
  ExprPtr e = make(colon ? ExprKind::kSlice : ExprKind::kItem, line);
  adopt(*e, std::move(operand));
  adopt(*e, std::move(parts[0]));
  if (colon) {
    adopt(*e, std::move(parts[1]));
    adopt(*e, std::move(parts[2]));
  }
  return e;
}

ExprPtr ExpressionParser::call(ExprPtr operand) {
  const int line = tokens_.line();
  if (operand->kind == ExprKind::kName) {
    if (!is_function(operand->name) && !macros_.contains(operand->name)) {
      fail_unsupported(line, "the function '" + operand->name + "'.");
    }
    operand->kind = ExprKind::kCall;
    call_arguments(*operand);
    return operand;
  }
  if (operand->kind == ExprKind::kAttribute) {
    if (!is_method(operand->name)) {
      fail_unsupported(line, "the method '" + operand->name + "'.");
    }
    operand->kind = ExprKind::kMethod;
    call_arguments(*operand);
    return operand;
  }
  fail_unsupported(line, "a call of something that is not a name.");
}

void ExpressionParser::call_arguments(Expr& into) {
  tokens_.expect_operator("(");
  bool first = true;
  while (!tokens_.is_operator(")")) {
    if (!first) {
      tokens_.expect_operator(",");
      if (tokens_.is_operator(")")) break;
    }
    first = false;
    if (tokens_.is_operator("*") || tokens_.is_operator("**")) {
      fail_unsupported(tokens_.line(), "arguments with a star.");
    }
    const bool named = tokens_.is(TokenType::kName) &&
                       tokens_.peek(1).type == TokenType::kOperator && tokens_.peek(1).value == "=";
    if (!named) {
      if (!into.named.empty()) tokens_.fail_expected("a named argument");
      adopt(into, expression());
      continue;
    }
    const std::string name = tokens_.expect_name();
    tokens_.next();
    ExprPtr value = expression();
    check_child(into, *value);
    into.named.emplace_back(name, std::move(value));
  }
  tokens_.expect_operator(")");
}

ExprPtr ExpressionParser::filters(ExprPtr operand) {
  while (tokens_.is_operator("|")) operand = filter(std::move(operand));
  return operand;
}

ExprPtr ExpressionParser::filter(ExprPtr operand) {
  tokens_.expect_operator("|");
  ExprPtr e = make(ExprKind::kFilter, tokens_.line());
  e->name = tokens_.expect_name();
  if (tokens_.is_operator(".") || !is_filter(e->name)) {
    fail_unsupported(e->line, "the filter '" + e->name + "'.");
  }
  adopt(*e, std::move(operand));
  if (tokens_.is_operator("(")) call_arguments(*e);
  check_inner_name(*e);
  return e;
}

// select, reject and map take the name of a test or filter; a literal one is checked here.
void ExpressionParser::check_inner_name(const Expr& filter) {
  const bool by_attribute = filter.name == "selectattr" || filter.name == "rejectattr";
  const bool test = by_attribute || filter.name == "select" || filter.name == "reject";
  if (!test && filter.name != "map") return;
  const std::size_t at = by_attribute ? 2 : 1;  // args[0] is the operand
  if (filter.args.size() <= at || filter.args[at]->kind != ExprKind::kConstant) return;
  const std::string* name = filter.args[at]->constant.as_text();
  if (name && !(test ? is_test(*name) : is_filter(*name))) {
    fail_unsupported(filter.line, std::string(test ? "the test '" : "the filter '") + *name +
                                      "' in " + filter.name + ".");
  }
}

ExprPtr ExpressionParser::test(ExprPtr operand) {
  const int line = tokens_.next().line;
  const bool negated = tokens_.skip_name("not");
  ExprPtr e = make(ExprKind::kTest, line);
  e->name = tokens_.expect_name();
  if (tokens_.is_operator(".") || !is_test(e->name)) {
    fail_unsupported(line, "the test 'is " + e->name + "'.");
  }
  adopt(*e, std::move(operand));
  const Token& next = tokens_.peek();
  if (tokens_.is_operator("(")) {
    call_arguments(*e);
  } else if (next.type == TokenType::kString || next.type == TokenType::kInteger ||
             next.type == TokenType::kFloat || tokens_.is_operator("[") ||
             tokens_.is_operator("{") ||
             (next.type == TokenType::kName && next.value != "else" && next.value != "or" &&
              next.value != "and")) {
    if (tokens_.is_name("is")) fail_syntax(line, "Tests cannot be chained with 'is'.");
    adopt(*e, postfix(primary()));
  }
  if (!negated) return e;
  ExprPtr n = make(ExprKind::kNot, line);
  adopt(*n, std::move(e));
  return n;
}

}  // namespace raptly::jinja
