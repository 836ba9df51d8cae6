// Tokens to a tree. Grammar and precedence are jinja2's: || below is from loose to tight.
//   a if c else b || or || and || not || == != < <= > >= in, not in || + - || ~ || * / // % ||
//   unary - + || . [] () || filters and tests
#pragma once

#include <set>
#include <string>
#include <vector>

#include "text/jinja_ast.h"
#include "text/jinja_lexer.h"

namespace raptly::jinja {

class TokenStream {
 public:
  explicit TokenStream(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}
  const Token& peek(std::size_t ahead = 0) const;
  Token next();
  bool is(TokenType type) const { return peek().type == type; }
  bool is_operator(std::string_view op) const;
  bool is_name(std::string_view name) const;
  bool skip_operator(std::string_view op);
  bool skip_name(std::string_view name);
  void expect_operator(std::string_view op);
  std::string expect_name();
  int line() const { return peek().line; }
  // "expected ..., got ..."
  [[noreturn]] void fail_expected(std::string_view what) const;

 private:
  std::vector<Token> tokens_;
  std::size_t pos_ = 0;
};

class ExpressionParser {
 public:
  // macros: names that may be called beside the built-in functions.
  ExpressionParser(TokenStream& tokens, const std::set<std::string>& macros)
      : tokens_(tokens), macros_(macros) {}

  ExprPtr expression();              // with "a if c else b"
  ExprPtr or_expression();           // without
  ExprPtr tuple(bool conditionals);  // "a" or "a, b"
  ExprPtr filters(ExprPtr operand);  // "| upper | trim(...)" over the operand
  void enter_loop() { ++loops_; }    // "loop" means something
  void leave_loop() { --loops_; }

 private:
  ExprPtr and_expression();
  ExprPtr not_expression();
  ExprPtr comparison();
  ExprPtr sum();
  ExprPtr concatenation();
  ExprPtr product();
  ExprPtr unary(bool with_filters);
  ExprPtr primary();
  ExprPtr parenthesized();
  ExprPtr list_literal();
  ExprPtr dict_literal();
  ExprPtr postfix(ExprPtr operand);
  ExprPtr attribute(ExprPtr operand);
  ExprPtr subscript(ExprPtr operand);
  ExprPtr call(ExprPtr operand);
  ExprPtr filter(ExprPtr operand);
  ExprPtr test(ExprPtr operand);
  void call_arguments(Expr& into);
  bool at_tuple_end() const;

  ExprPtr make(ExprKind kind, int line);
  void adopt(Expr& parent, ExprPtr child);  // counts depth
  void check_child(Expr& parent, const Expr& child);
  void check_inner_name(const Expr& filter);
  ExprPtr binary(BinaryOp op, int line, ExprPtr left, ExprPtr right);

  TokenStream& tokens_;
  const std::set<std::string>& macros_;
  int loops_ = 0;
  int nesting_ = 0;
};

}  // namespace raptly::jinja
