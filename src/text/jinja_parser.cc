#include "text/jinja_parser.h"

#include <algorithm>
#include <array>

#include "text/jinja_builtins.h"

namespace raptly::jinja {

const Token& TokenStream::peek(std::size_t ahead) const {
  return tokens_[std::min(pos_ + ahead, tokens_.size() - 1)];
}

Token TokenStream::next() {
  Token token = peek();
  if (pos_ + 1 < tokens_.size()) ++pos_;
  return token;
}

bool TokenStream::is_operator(std::string_view op) const {
  return peek().type == TokenType::kOperator && peek().value == op;
}

bool TokenStream::is_name(std::string_view name) const {
  return peek().type == TokenType::kName && peek().value == name;
}

bool TokenStream::skip_operator(std::string_view op) {
  if (!is_operator(op)) return false;
  next();
  return true;
}

bool TokenStream::skip_name(std::string_view name) {
  if (!is_name(name)) return false;
  next();
  return true;
}

void TokenStream::expect_operator(std::string_view op) {
  if (!skip_operator(op)) fail_expected("'" + std::string(op) + "'");
}

std::string TokenStream::expect_name() {
  if (!is(TokenType::kName)) fail_expected("a name");
  return next().value;
}

void TokenStream::fail_expected(std::string_view what) const {
  const Token& token = peek();
  const std::string got = token.type == TokenType::kEof      ? "the end of the template"
                          : token.type == TokenType::kString ? "a string"
                                                             : "'" + token.value + "'";
  fail_syntax(token.line, "Expected " + std::string(what) + ", got " + got + ".");
}

namespace {

// Jinja's other statements, and those of its extensions.
constexpr std::array<std::string_view, 12> kUnsupportedStatements = {
    "block",  "extends", "include",    "import", "from",  "call",
    "filter", "with",    "autoescape", "do",     "trans", "print"};

class StatementParser {
 public:
  explicit StatementParser(std::vector<Token> tokens)
      : macros_(macro_names(tokens)), tokens_(std::move(tokens)), expressions_(tokens_, macros_) {}

  Body run() {
    Body body = statements({});
    if (!tokens_.is(TokenType::kEof)) tokens_.fail_expected("the end of the template");
    return body;
  }

 private:
  static std::set<std::string> macro_names(const std::vector<Token>& tokens) {
    std::set<std::string> names;
    for (std::size_t i = 0; i + 2 < tokens.size(); ++i) {
      if (tokens[i].type == TokenType::kBlockBegin && tokens[i + 1].value == "macro") {
        names.insert(tokens[i + 2].value);
      }
    }
    return names;
  }

  void end_block() {
    if (!tokens_.is(TokenType::kBlockEnd)) tokens_.fail_expected("the end of the block, '%}'");
    tokens_.next();
  }

  // An expression that is not the whole of an output.
  ExprPtr value(ExprPtr e) {
    if (e->kind == ExprKind::kFilter && e->name == "safe") {
      fail_unsupported(e->line, "the filter 'safe' elsewhere than at the end of an output.");
    }
    return e;
  }

  // Statements up to one of `ends`, whose name is then the next token (its "{%" is behind us).
  Body statements(const std::vector<std::string_view>& ends) {
    if (++nesting_ > kMaxDepth) {
      fail_unsupported(tokens_.line(),
                       "blocks nested deeper than " + std::to_string(kMaxDepth) + ".");
    }
    Body body;
    const int begin = tokens_.line();
    for (;;) {
      if (tokens_.is(TokenType::kEof)) {
        if (ends.empty()) break;
        fail_syntax(begin, "A block has no {% " + std::string(ends.back()) + " %}.");
      }
      if (tokens_.is(TokenType::kData)) {
        Statement& s = add(body, StatementKind::kText);
        s.text = tokens_.next().value;
      } else if (tokens_.is(TokenType::kVariableBegin)) {
        output(body);
      } else {
        tokens_.next();  // {%
        const bool end = std::any_of(ends.begin(), ends.end(),
                                     [&](std::string_view name) { return tokens_.is_name(name); });
        if (end) break;
        statement(body);
      }
    }
    --nesting_;
    return body;
  }

  Statement& add(Body& body, StatementKind kind) {
    Statement& s = body.emplace_back();
    s.kind = kind;
    s.line = tokens_.line();
    return s;
  }

  void output(Body& body) {
    Statement& s = add(body, StatementKind::kOutput);
    tokens_.next();
    s.expr = expressions_.tuple(true);
    if (s.expr->kind == ExprKind::kFilter && s.expr->name == "safe") {
      if (s.expr->args.size() > 1 || !s.expr->named.empty()) {
        fail_syntax(s.line, "The filter 'safe' takes no arguments.");
      }
      ExprPtr inner = std::move(s.expr->args[0]);
      s.expr = std::move(inner);
    }
    if (!tokens_.is(TokenType::kVariableEnd)) tokens_.fail_expected("'}}'");
    tokens_.next();
  }

  void statement(Body& body) {
    if (!tokens_.is(TokenType::kName)) tokens_.fail_expected("a statement");
    const Token name = tokens_.peek();
    if (name.value == "if") return if_statement(body);
    if (name.value == "for") return for_statement(body);
    if (name.value == "set") return set_statement(body);
    if (name.value == "macro") return macro_statement(body);
    if (name.value == "generation") return generation(body);
    if (name.value == "break" || name.value == "continue") return jump(body);
    const auto known = std::find(kUnsupportedStatements.begin(), kUnsupportedStatements.end(),
                                 std::string_view(name.value));
    if (known != kUnsupportedStatements.end()) {
      fail_unsupported(name.line, "the statement {% " + name.value + " %}.");
    }
    fail_syntax(name.line,
                "{% " + name.value + " %} is no statement, or stands in the wrong place.");
  }

  void if_statement(Body& body) {
    Statement s;
    s.kind = StatementKind::kIf;
    s.line = tokens_.next().line;
    for (;;) {
      Branch& branch = s.branches.emplace_back();
      branch.condition = value(expressions_.tuple(false));
      end_block();
      branch.body = statements({"elif", "else", "endif"});
      const Token end = tokens_.next();
      if (end.value == "elif") continue;
      if (end.value == "else") {
        end_block();
        Body last = statements({"endif"});
        tokens_.next();
        s.branches.emplace_back().body = std::move(last);
      }
      break;
    }
    end_block();
    body.push_back(std::move(s));
  }

  void targets(Statement& s, bool may_be_attribute) {
    const bool parentheses = tokens_.skip_operator("(");
    do {
      if (!s.targets.empty() && !tokens_.is(TokenType::kName)) break;  // "a, = x"
      if (!s.targets.empty() && tokens_.is_name("in")) break;
      const int line = tokens_.line();
      Target& target = s.targets.emplace_back();
      target.name = tokens_.expect_name();
      static constexpr std::array<std::string_view, 7> kConstants = {
          "true", "True", "false", "False", "none", "None", "loop"};
      if (std::find(kConstants.begin(), kConstants.end(), target.name) != kConstants.end()) {
        fail_syntax(line, "Can't assign to '" + target.name + "'.");
      }
      if (may_be_attribute && tokens_.skip_operator(".")) {
        target.attribute = tokens_.expect_name();
        if (target.attribute.starts_with("_")) {
          fail_unsupported(
              line, "the attribute '" + target.attribute + "': names with a leading underscore.");
        }
      }
      if (tokens_.is_operator(",")) s.unpack = true;
    } while (tokens_.skip_operator(","));
    if (parentheses) tokens_.expect_operator(")");
  }

  void for_statement(Body& body) {
    Statement s;
    s.kind = StatementKind::kFor;
    s.line = tokens_.next().line;
    targets(s, false);
    if (!tokens_.skip_name("in")) tokens_.fail_expected("'in'");
    s.expr = value(expressions_.tuple(false));
    if (tokens_.skip_name("if")) s.condition = value(expressions_.expression());
    if (tokens_.is_name("recursive")) fail_unsupported(s.line, "a recursive loop.");
    end_block();
    expressions_.enter_loop();
    ++jumps_;
    s.body = statements({"else", "endfor"});
    --jumps_;
    expressions_.leave_loop();
    if (tokens_.next().value == "else") {
      end_block();
      s.else_body = statements({"endfor"});
      tokens_.next();
    }
    end_block();
    body.push_back(std::move(s));
  }

  // A body that a jump cannot leave.
  Body closed_body(std::string_view end) {
    end_block();
    const int jumps = jumps_;
    jumps_ = 0;
    Body inner = statements({end});
    jumps_ = jumps;
    tokens_.next();
    end_block();
    return inner;
  }

  void set_statement(Body& body) {
    Statement s;
    s.kind = StatementKind::kSet;
    s.line = tokens_.next().line;
    targets(s, true);
    if (tokens_.skip_operator("=")) {
      s.expr = value(expressions_.tuple(true));
      end_block();
    } else {
      s.kind = StatementKind::kSetBlock;
      if (s.targets.size() > 1 || s.unpack) tokens_.fail_expected("'='");
      if (tokens_.is_operator("|")) {
        auto text = std::make_unique<Expr>();
        text->kind = ExprKind::kName;
        text->line = s.line;
        s.expr = value(expressions_.filters(std::move(text)));
      }
      s.body = closed_body("endset");
    }
    body.push_back(std::move(s));
  }

  void macro_statement(Body& body) {
    Statement s;
    s.kind = StatementKind::kMacro;
    s.line = tokens_.next().line;
    s.text = tokens_.expect_name();
    tokens_.expect_operator("(");
    while (!tokens_.is_operator(")")) {
      if (!s.parameters.empty()) tokens_.expect_operator(",");
      Parameter& p = s.parameters.emplace_back();
      p.name = tokens_.expect_name();
      if (tokens_.skip_operator("=")) {
        p.fallback = value(expressions_.expression());
      } else if (s.parameters.size() > 1 && s.parameters[s.parameters.size() - 2].fallback) {
        fail_syntax(s.line, "A parameter without a default follows one that has a default.");
      }
    }
    tokens_.next();
    s.body = closed_body("endmacro");
    body.push_back(std::move(s));
  }

  void generation(Body& body) {
    Statement s;
    s.kind = StatementKind::kGeneration;
    s.line = tokens_.next().line;
    s.body = closed_body("endgeneration");
    body.push_back(std::move(s));
  }

  void jump(Body& body) {
    const Token name = tokens_.next();
    if (jumps_ == 0) fail_syntax(name.line, "{% " + name.value + " %} outside a loop.");
    Statement& s =
        add(body, name.value == "break" ? StatementKind::kBreak : StatementKind::kContinue);
    s.line = name.line;
    end_block();
  }

  std::set<std::string> macros_;
  TokenStream tokens_;
  ExpressionParser expressions_;
  int nesting_ = 0;
  int jumps_ = 0;  // loops that a break could leave
};

}  // namespace

Body parse(std::string_view source) {
  static constexpr std::size_t kMaxSource = std::size_t{1} << 18;
  if (source.size() > kMaxSource) {
    fail_unsupported(1, "a template of more than " + std::to_string(kMaxSource) + " bytes.");
  }
  return StatementParser(tokenize(source)).run();
}

}  // namespace raptly::jinja
