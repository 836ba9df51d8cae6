#include <algorithm>

#include "text/jinja_lexer.h"
#include "text/jinja_render.h"
#include "text/jinja_text.h"

namespace raptly::jinja {
namespace {

// What x[begin:end:step] picks out of n items, as Python's slice.indices does.
std::vector<std::size_t> slice_indices(const Value parts[3], std::int64_t n) {
  for (int i = 0; i < 3; ++i) {
    if (!parts[i].is_none() && !parts[i].as_integer() && !parts[i].as_bool()) {
      throw ValueError{"A slice is made of integers, not of a " + parts[i].type_name() + "."};
    }
  }
  const std::int64_t step = parts[2].is_none() ? 1 : parts[2].to_integer();
  if (step == 0) throw ValueError{"The step of a slice is zero."};
  const std::int64_t low = step < 0 ? -1 : 0;
  const std::int64_t high = step < 0 ? n - 1 : n;
  const auto bound = [&](const Value& part, std::int64_t fallback) {
    if (part.is_none()) return fallback;
    const std::int64_t i = part.to_integer();
    return std::clamp(i < 0 ? i + n : i, low, high);
  };
  const std::int64_t begin = bound(parts[0], step < 0 ? high : low);
  const std::int64_t end = bound(parts[1], step < 0 ? low : high);
  std::vector<std::size_t> out;
  const std::int64_t stride = std::clamp(step, -n - 1, n + 1);  // no overflow below
  for (std::int64_t i = begin; stride > 0 ? i < end : i > end; i += stride) {
    out.push_back(static_cast<std::size_t>(i));
  }
  return out;
}

bool compare(Budget& budget, CompareOp op, const Value& a, const Value& b) {
  budget.charge(std::min(weight(a), weight(b)) / 8);
  switch (op) {
    case CompareOp::kEqual:
      return equal(a, b);
    case CompareOp::kNotEqual:
      return !equal(a, b);
    case CompareOp::kLess:
      return less(a, b);
    case CompareOp::kGreater:
      return less(b, a);
    case CompareOp::kLessEqual:
      return less(a, b) || equal(a, b);
    case CompareOp::kGreaterEqual:
      return less(b, a) || equal(a, b);
    case CompareOp::kIn:
      return contains(budget, a, b);
    case CompareOp::kNotIn:
      return !contains(budget, a, b);
  }
  return false;
}

}  // namespace

Value Renderer::eval(const Expr& e) {
  budget_.charge(1);
  const Restore depth(depth_, deeper());
  line_ = e.line;
  return eval_kind(e);
}

Value Renderer::eval_kind(const Expr& e) {
  switch (e.kind) {
    case ExprKind::kConstant:
      return e.constant;
    case ExprKind::kName:
      return eval_name(e);
    case ExprKind::kList:
      return eval_sequence(e, SequenceKind::kList);
    case ExprKind::kTuple:
      return eval_sequence(e, SequenceKind::kTuple);
    case ExprKind::kDict:
      return eval_dict(e);
    case ExprKind::kAttribute:
      return get_attribute(budget_, eval(*e.args[0]), e.name);
    case ExprKind::kItem: {
      const Value object = eval(*e.args[0]);
      return get_item(budget_, object, eval(*e.args[1]));
    }
    case ExprKind::kSlice:
      return eval_slice(e);
    case ExprKind::kLoop:
      return eval_loop(e);
    case ExprKind::kCall:
      return eval_call(e);
    case ExprKind::kMethod: {
      const Value object = eval(*e.args[0]);
      return call_method(budget_, object, e.name, eval_arguments(e, 1));
    }
    case ExprKind::kFilter: {
      const Value input = eval(*e.args[0]);
      return apply_filter(budget_, e.name, input, eval_arguments(e, 1));
    }
    case ExprKind::kTest: {
      const Value input = eval(*e.args[0]);
      return Value::boolean(apply_test(budget_, e.name, input, eval_arguments(e, 1)));
    }
    case ExprKind::kNot:
      return Value::boolean(!eval(*e.args[0]).truth());
    case ExprKind::kNegate:
      return negate(eval(*e.args[0]));
    case ExprKind::kPlus:
      return arithmetic(budget_, BinaryOp::kAdd, Value::integer(0), eval(*e.args[0]));
    case ExprKind::kAnd: {
      Value left = eval(*e.args[0]);
      return left.truth() ? eval(*e.args[1]) : left;
    }
    case ExprKind::kOr: {
      Value left = eval(*e.args[0]);
      return left.truth() ? left : eval(*e.args[1]);
    }
    case ExprKind::kBinary: {
      const Value left = eval(*e.args[0]);
      return arithmetic(budget_, e.op, left, eval(*e.args[1]));
    }
    case ExprKind::kCompare:
      return eval_compare(e);
    case ExprKind::kConcat:
      return eval_concat(e);
    case ExprKind::kConditional:
      if (eval(*e.args[1]).truth()) return eval(*e.args[0]);
      if (e.args[2]) return eval(*e.args[2]);
      return Value::undefined("The 'if' of an expression was false and it has no 'else'");
  }
  return Value();
}

Value Renderer::eval_name(const Expr& e) {
  if (const Scope* found = find_name(e.name)) {
    const auto at = found->names.find(e.name);
    return at->second.value;
  }
  if (is_function(e.name) && (e.name != "strftime_now" || now_)) return Value::builtin();
  return Value::undefined("'" + e.name + "' is undefined");
}

Value Renderer::eval_sequence(const Expr& e, SequenceKind kind) {
  std::vector<Value> items;
  for (const ExprPtr& item : e.args) items.push_back(eval(*item));
  return budget_.sequence(std::move(items), kind);
}

Value Renderer::eval_dict(const Expr& e) {
  std::vector<std::pair<Value, Value>> entries;
  for (std::size_t i = 0; i + 1 < e.args.size(); i += 2) {
    Value key = eval(*e.args[i]);
    entries.emplace_back(std::move(key), eval(*e.args[i + 1]));
  }
  budget_.charge(static_cast<std::int64_t>(entries.size() * entries.size() / 64));
  return make_dict(std::move(entries));
}

Value Renderer::eval_slice(const Expr& e) {
  const Value object = eval(*e.args[0]);
  Value parts[3];
  for (std::size_t i = 0; i < 3; ++i)
    parts[i] = e.args[i + 1] ? eval(*e.args[i + 1]) : Value::none();
  if (object.is_undefined()) throw ValueError{object.why_undefined() + "."};
  if (const std::string* text = object.as_text()) {
    budget_.charge(weight(object));
    const std::vector<std::string_view> chars = split_chars(*text);
    std::string out;
    for (const std::size_t i : slice_indices(parts, static_cast<std::int64_t>(chars.size()))) {
      out += chars[i];
    }
    return budget_.text(std::move(out));
  }
  const Sequence* s = object.as_sequence();
  if (!s || s->kind == SequenceKind::kView || s->kind == SequenceKind::kGenerator) {
    throw ValueError{"A " + object.type_name() + " has no slices."};
  }
  std::vector<Value> out;
  for (const std::size_t i : slice_indices(parts, static_cast<std::int64_t>(s->items.size()))) {
    out.push_back(s->items[i]);
  }
  return budget_.sequence(std::move(out), s->kind);
}

Value Renderer::eval_loop(const Expr& e) {
  const Scope* scope = scope_;
  while (scope && !scope->loop) scope = scope->parent;
  if (!scope) throw ValueError{"'loop' is undefined."};
  const LoopState& loop = *scope->loop;
  const auto index = static_cast<std::int64_t>(loop.index);
  const auto size = static_cast<std::int64_t>(loop.items.size());
  if (e.name == "index") return Value::integer(index + 1);
  if (e.name == "index0") return Value::integer(index);
  if (e.name == "revindex") return Value::integer(size - index);
  if (e.name == "revindex0") return Value::integer(size - index - 1);
  if (e.name == "first") return Value::boolean(index == 0);
  if (e.name == "last") return Value::boolean(index + 1 == size);
  if (e.name == "length") return Value::integer(size);
  if (e.name == "depth") return Value::integer(1);
  if (e.name == "depth0") return Value::integer(0);
  if (e.name == "previtem") {
    return index > 0 ? loop.items[loop.index - 1] : Value::undefined("There is no previous item");
  }
  if (e.name == "nextitem") {
    return index + 1 < size ? loop.items[loop.index + 1]
                            : Value::undefined("There is no next item");
  }
  const Arguments arguments = eval_arguments(e, 0);  // cycle
  if (arguments.positional.empty()) throw ValueError{"loop.cycle was given no items."};
  return arguments.positional[loop.index % arguments.positional.size()];
}

Value Renderer::eval_compare(const Expr& e) {
  Value left = eval(*e.args[0]);
  for (std::size_t i = 0; i < e.compare_ops.size(); ++i) {
    Value right = eval(*e.args[i + 1]);
    if (!compare(budget_, e.compare_ops[i], left, right)) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

Value Renderer::eval_concat(const Expr& e) {
  std::string out;
  for (const ExprPtr& part : e.args) append_str(out, eval(*part), Budget::kMaxText);
  return budget_.text(std::move(out));
}

Arguments Renderer::eval_arguments(const Expr& e, std::size_t first) {
  Arguments out;
  for (std::size_t i = first; i < e.args.size(); ++i) out.positional.push_back(eval(*e.args[i]));
  for (const auto& [name, value] : e.named) out.named.emplace_back(name, eval(*value));
  return out;
}

Value Renderer::eval_call(const Expr& e) {
  if (Scope* found = find_name(e.name)) {
    const Binding binding = found->names.at(e.name);
    const Arguments arguments = eval_arguments(e, 0);
    line_ = e.line;
    if (!binding.macro) throw ValueError{"'" + e.name + "' is no function."};
    return call_macro(*found, *binding.macro, arguments);
  }
  const Arguments arguments = eval_arguments(e, 0);
  line_ = e.line;
  if (!is_function(e.name)) throw ValueError{"'" + e.name + "' is undefined."};
  return call_function(e.name, arguments);
}

}  // namespace raptly::jinja
