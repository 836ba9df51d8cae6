#include "text/jinja_render.h"

#include <algorithm>

#include "raptly/error.h"
#include "text/jinja_lexer.h"

namespace raptly::jinja {
int Renderer::deeper() const {
  if (depth_ == kMaxRunDepth) {
    throw ValueError{"Expressions, blocks and macro calls are nested deeper than " +
                     std::to_string(kMaxRunDepth) + "."};
  }
  return depth_ + 1;
}

void Renderer::define(std::string_view name, Value value) {
  top_.names[name] = Binding{std::move(value), nullptr};
}

std::string Renderer::run(const Body& body) {
  try {
    execute(body);
  } catch (const ValueError& e) {
    throw Error(ErrorCode::kInvalidArgument, at_line(line_, e.message));
  }
  return std::move(out_);
}

Renderer::Flow Renderer::execute(const Body& body) {
  const Restore depth(depth_, deeper());
  for (const Statement& s : body) {
    budget_.charge(1);
    line_ = s.line;
    if (const Flow flow = execute(s); flow != Flow::kOn) return flow;
  }
  return Flow::kOn;
}

Renderer::Flow Renderer::execute(const Statement& s) {
  switch (s.kind) {
    case StatementKind::kText:
      write(Value::text(s.text));
      break;
    case StatementKind::kOutput:
      write(eval(*s.expr));
      break;
    case StatementKind::kIf:
      for (const Branch& branch : s.branches) {
        if (!branch.condition || eval(*branch.condition).truth()) return execute(branch.body);
      }
      break;
    case StatementKind::kFor:
      return execute_for(s);
    case StatementKind::kSet:
      assign(s, eval(*s.expr));
      break;
    case StatementKind::kSetBlock: {
      Scope inner{scope_, nullptr, {}};
      Value value = budget_.text(capture(s.body, inner));
      if (s.expr) {
        Scope filtered{scope_, nullptr, {}};
        filtered.names[""] = Binding{std::move(value), nullptr};  // what the filters work on
        const Restore enter(scope_, &filtered);
        value = eval(*s.expr);
      }
      assign(s, value);
      break;
    }
    case StatementKind::kMacro:
      scope_->names[s.text] = Binding{Value::builtin(), &s};
      break;
    case StatementKind::kGeneration: {
      Scope inner{scope_, nullptr, {}};
      const Restore enter(scope_, &inner);
      execute(s.body);
      break;
    }
    case StatementKind::kBreak:
      return Flow::kBreak;
    case StatementKind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kOn;
}

Renderer::Flow Renderer::execute_for(const Statement& s) {
  LoopState loop{iterate(budget_, eval(*s.expr)), 0};
  if (s.condition) {
    std::vector<Value> kept;
    for (Value& item : loop.items) {
      Scope inner{scope_, nullptr, {}};
      const Restore enter(scope_, &inner);
      assign(s, item);
      if (eval(*s.condition).truth()) kept.push_back(std::move(item));
    }
    loop.items = std::move(kept);
  }
  bool completed = false;  // jinja2 runs the else also when every turn ended by break or continue
  for (; loop.index < loop.items.size(); ++loop.index) {
    budget_.charge(1);
    const Flow flow = execute_item(s, loop);
    completed |= flow == Flow::kOn;
    if (flow == Flow::kBreak) break;
  }
  if (completed) return Flow::kOn;
  Scope inner{scope_, nullptr, {}};
  const Restore enter(scope_, &inner);
  return execute(s.else_body);
}

// What is set in a loop's body is gone at the next turn, as in jinja2.
Renderer::Flow Renderer::execute_item(const Statement& s, LoopState& loop) {
  Scope inner{scope_, &loop, {}};
  const Restore enter(scope_, &inner);
  assign(s, loop.items[loop.index]);
  return execute(s.body);
}

void Renderer::assign(const Statement& s, const Value& value) {
  if (!s.unpack) return bind_target(s.targets[0], value);
  if (value.is_undefined()) throw ValueError{value.why_undefined() + "."};
  const std::vector<Value> items = iterate(budget_, value);
  if (items.size() != s.targets.size()) {
    throw ValueError{std::to_string(s.targets.size()) + " names for " +
                     std::to_string(items.size()) + " values."};
  }
  for (std::size_t i = 0; i < items.size(); ++i) bind_target(s.targets[i], items[i]);
}

void Renderer::bind_target(const Target& target, Value value) {
  if (target.attribute.empty()) {
    scope_->names[target.name] = Binding{std::move(value), nullptr};
    return;
  }
  const Scope* found = find_name(target.name);
  Namespace* space = found ? found->names.at(target.name).value.as_namespace() : nullptr;
  if (!space)
    throw ValueError{"'" + target.name + "' is not a namespace; only one can be changed."};
  space->set(target.attribute, std::move(value));
}

void Renderer::write(const Value& value) {
  const std::size_t before = out_.size();
  append_str(out_, value, Budget::kMaxText);
  budget_.charge(static_cast<std::int64_t>((out_.size() - before) / 64));
}

std::string Renderer::capture(const Body& body, Scope& scope) {
  std::string outer = std::exchange(out_, {});
  const Restore enter(scope_, &scope);
  execute(body);
  return std::exchange(out_, std::move(outer));
}

Value Renderer::call_macro(Scope& defined_in, const Statement& macro, const Arguments& arguments) {
  std::vector<std::string_view> names;
  for (const Parameter& p : macro.parameters) names.push_back(p.name);
  const auto args = bind(arguments, macro.text, names, 0);
  Scope inner{&defined_in, nullptr, {}};
  const int line = line_;
  for (std::size_t i = 0; i < args.size(); ++i) {
    const Parameter& p = macro.parameters[i];
    Value value = args[i] ? *args[i] : Value::undefined("'" + p.name + "' was not given");
    if (!args[i] && p.fallback) {
      const Restore enter(scope_, &inner);
      value = eval(*p.fallback);
    }
    inner.names[p.name] = Binding{std::move(value), nullptr};
  }
  Value text = budget_.text(capture(macro.body, inner));
  line_ = line;
  return text;
}

Scope* Renderer::find_name(std::string_view name) {
  for (Scope* s = scope_; s; s = s->parent) {
    if (s->names.contains(name)) return s;
  }
  return nullptr;
}

}  // namespace raptly::jinja
