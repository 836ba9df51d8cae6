// Runs a parsed template.
#pragma once

#include <ctime>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja_ast.h"
#include "text/jinja_builtins.h"

namespace raptly::jinja {

struct LoopState {
  std::vector<Value> items;
  std::size_t index = 0;
};

// A name means a value or, where one was defined, a macro.
struct Binding {
  Value value;
  const Statement* macro = nullptr;
};

struct Scope {
  Scope* parent = nullptr;
  const LoopState* loop = nullptr;
  std::map<std::string_view, Binding> names;
};

// Undoes a change of scope or depth, also when an error passes.
template <class T>
class Restore {
 public:
  Restore(T& place, T value) : place_(place), old_(std::exchange(place, value)) {}
  ~Restore() { place_ = old_; }
  Restore(const Restore&) = delete;
  Restore& operator=(const Restore&) = delete;

 private:
  T& place_;
  T old_;
};

class Renderer {
 public:
  explicit Renderer(std::optional<std::tm> now) : now_(now) {}
  void define(std::string_view name, Value value);  // name must outlive the renderer
  // Throws Error (kInvalidArgument) with the line.
  std::string run(const Body& body);

 private:
  enum class Flow { kOn, kBreak, kContinue };

  // jinja_render.cc: statements
  Flow execute(const Body& body);
  Flow execute(const Statement& s);
  Flow execute_for(const Statement& s);
  Flow execute_item(const Statement& s, LoopState& loop);
  void assign(const Statement& s, const Value& value);
  void bind_target(const Target& target, Value value);
  void write(const Value& value);
  std::string capture(const Body& body, Scope& scope);
  Value call_macro(Scope& defined_in, const Statement& macro, const Arguments& arguments);
  Scope* find_name(std::string_view name);
  // Expressions, blocks and macro calls within each other: a level takes less than 1 KiB of stack
  // (4 KiB with sanitizers).
  static constexpr int kMaxRunDepth = 600;
  int deeper() const;  // depth_ + 1

  // jinja_eval.cc: expressions
  Value eval(const Expr& e);
  Value eval_kind(const Expr& e);
  Value eval_name(const Expr& e);
  Value eval_sequence(const Expr& e, SequenceKind kind);
  Value eval_dict(const Expr& e);
  Value eval_slice(const Expr& e);
  Value eval_loop(const Expr& e);
  Value eval_call(const Expr& e);
  Value eval_compare(const Expr& e);
  Value eval_concat(const Expr& e);
  Arguments eval_arguments(const Expr& e, std::size_t first);
  Value call_function(const std::string& name, const Arguments& arguments);
  Value make_namespace(const Arguments& arguments);
  Value strftime_now(const Arguments& arguments);

  Budget budget_;
  std::optional<std::tm> now_;
  Scope top_;
  Scope* scope_ = &top_;
  std::deque<Namespace> namespaces_;  // they may point at each other, so they live as long as this
  std::string out_;
  int line_ = 1;
  int depth_ = 0;
};

// a op b. Throws ValueError.
Value arithmetic(Budget& budget, BinaryOp op, const Value& a, const Value& b);
Value negate(const Value& a);

}  // namespace raptly::jinja
