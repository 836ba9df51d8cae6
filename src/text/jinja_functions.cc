// What can be called by name, and arithmetic.
#include <array>
#include <cmath>

#include "text/jinja_render.h"
#include "text/jinja_text.h"

namespace raptly::jinja {
namespace {

constexpr std::int64_t kMaxRange = 100'000;  // jinja2's sandbox has the same

Value make_range(Budget& budget, const Arguments& arguments) {
  std::array<std::int64_t, 3> parts = {0, 0, 1};
  const std::size_t n = arguments.positional.size();
  if (n < 1 || n > 3 || !arguments.named.empty())
    throw ValueError{"'range' wants 1 to 3 integers."};
  for (std::size_t i = 0; i < n; ++i) {
    const Value& v = arguments.positional[i];
    if (!v.as_integer() && !v.as_bool()) {
      throw ValueError{"'range' wants integers, not a " + v.type_name() + "."};
    }
    parts[n == 1 ? 1 : i] = v.to_integer();
  }
  const auto [begin, end, step] = parts;
  if (step == 0) throw ValueError{"The step of 'range' is zero."};
  std::vector<Value> items;
  for (std::int64_t i = begin; step > 0 ? i < end : i > end;) {
    if (static_cast<std::int64_t>(items.size()) == kMaxRange) {
      throw ValueError{"'range' has more than " + std::to_string(kMaxRange) + " items."};
    }
    items.push_back(Value::integer(i));
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return budget.sequence(std::move(items), SequenceKind::kRange);
}

Value make_dict_of(const Arguments& arguments) {
  std::vector<std::pair<Value, Value>> entries;
  if (arguments.positional.size() > 1) throw ValueError{"'dict' takes at most one dict."};
  if (!arguments.positional.empty()) {
    const Dict* from = arguments.positional[0].as_dict();
    if (!from)
      throw ValueError{"'dict' wants a dict, not a " + arguments.positional[0].type_name() + "."};
    entries = from->entries;
  }
  for (const auto& [name, value] : arguments.named) entries.emplace_back(Value::text(name), value);
  return make_dict(std::move(entries));
}

double floor_divide(double a, double b) {  // as Python's float.__floordiv__
  double mod = std::fmod(a, b);
  double div = (a - mod) / b;
  if (mod != 0 && (b < 0) != (mod < 0)) div -= 1;
  if (div == 0) return std::copysign(0.0, a / b);
  const double floored = std::floor(div);
  return div - floored > 0.5 ? floored + 1 : floored;
}

double modulo(double a, double b) {
  const double mod = std::fmod(a, b);
  if (mod == 0) return std::copysign(0.0, b);
  return (b < 0) != (mod < 0) ? mod + b : mod;
}

Value real_arithmetic(BinaryOp op, double a, double b) {
  const bool divides =
      op == BinaryOp::kDivide || op == BinaryOp::kFloorDivide || op == BinaryOp::kModulo;
  if (divides && b == 0) throw ValueError{"Division by zero."};
  switch (op) {
    case BinaryOp::kSubtract:
      return Value::real(a - b);
    case BinaryOp::kMultiply:
      return Value::real(a * b);
    case BinaryOp::kDivide:
      return Value::real(a / b);
    case BinaryOp::kFloorDivide:
      return Value::real(floor_divide(a, b));
    case BinaryOp::kModulo:
      return Value::real(modulo(a, b));
    case BinaryOp::kAdd:
      break;
  }
  return Value::real(a + b);
}

Value integer_arithmetic(BinaryOp op, std::int64_t a, std::int64_t b) {
  std::int64_t out = 0;
  bool overflow = false;
  switch (op) {
    case BinaryOp::kSubtract:
      overflow = __builtin_sub_overflow(a, b, &out);
      break;
    case BinaryOp::kMultiply:
      overflow = __builtin_mul_overflow(a, b, &out);
      break;
    case BinaryOp::kFloorDivide:
    case BinaryOp::kModulo: {
      if (b == 0) throw ValueError{"Division by zero."};
      if (b == -1) {  // the quotient of the lowest integer does not fit
        overflow = __builtin_sub_overflow(std::int64_t{0}, a, &out);
        if (op == BinaryOp::kModulo) return Value::integer(0);
        break;
      }
      const std::int64_t remainder = a % b;
      const bool lower = remainder != 0 && (remainder < 0) != (b < 0);  // towards minus infinity
      out = op == BinaryOp::kModulo ? remainder + (lower ? b : 0) : a / b - (lower ? 1 : 0);
      break;
    }
    case BinaryOp::kAdd:
      overflow = __builtin_add_overflow(a, b, &out);
      break;
    case BinaryOp::kDivide:
      return real_arithmetic(op, static_cast<double>(a), static_cast<double>(b));
  }
  if (overflow) throw ValueError{"An integer passes 64 bits."};
  return Value::integer(out);
}

// "ab" * 3, [1] * 3
Value repeat(Budget& budget, const Value& what, std::int64_t times) {
  const std::size_t n = times > 0 ? static_cast<std::size_t>(times) : 0;
  if (const std::string* text = what.as_text()) {
    if (!text->empty() && n > Budget::kMaxText / text->size()) {
      throw ValueError{"A text passes " + std::to_string(Budget::kMaxText) + " bytes."};
    }
    std::string out;
    for (std::size_t i = 0; i < n && !text->empty(); ++i) out += *text;
    return budget.text(std::move(out));
  }
  const Sequence& s = *what.as_sequence();
  std::vector<Value> items;
  for (std::size_t i = 0; i < n && !s.items.empty(); ++i) {
    budget.charge(1 + static_cast<std::int64_t>(s.items.size()));
    items.insert(items.end(), s.items.begin(), s.items.end());
  }
  return budget.sequence(std::move(items), s.kind);
}

bool repeats(const Value& v) {
  const Sequence* s = v.as_sequence();
  return v.as_text() || (s && (s->kind == SequenceKind::kList || s->kind == SequenceKind::kTuple));
}

bool counts(const Value& v) { return v.as_integer() || v.as_bool(); }

}  // namespace

Value arithmetic(Budget& budget, BinaryOp op, const Value& a, const Value& b) {
  if (op == BinaryOp::kAdd) return arithmetic_add(budget, a, b);
  if (a.is_undefined()) throw ValueError{a.why_undefined() + "."};
  if (op == BinaryOp::kModulo && a.as_text()) {
    throw ValueError{"Formatting with '%' is not supported. Use '~' or '+'."};
  }
  if (b.is_undefined()) throw ValueError{b.why_undefined() + "."};
  if (a.is_number() && b.is_number()) {
    if (a.as_real() || b.as_real()) return real_arithmetic(op, a.to_real(), b.to_real());
    return integer_arithmetic(op, a.to_integer(), b.to_integer());
  }
  if (op == BinaryOp::kMultiply && repeats(a) && counts(b))
    return repeat(budget, a, b.to_integer());
  if (op == BinaryOp::kMultiply && counts(a) && repeats(b))
    return repeat(budget, b, a.to_integer());
  throw ValueError{"There is no arithmetic of a " + a.type_name() + " with a " + b.type_name() +
                   "."};
}

Value negate(const Value& a) {
  if (a.is_undefined()) throw ValueError{a.why_undefined() + "."};
  if (const double* d = a.as_real()) return Value::real(-*d);
  if (!a.is_number()) throw ValueError{"A " + a.type_name() + " has no negative."};
  return integer_arithmetic(BinaryOp::kSubtract, 0, a.to_integer());
}

Value Renderer::call_function(const std::string& name, const Arguments& arguments) {
  if (name == "range") return make_range(budget_, arguments);
  if (name == "dict") return make_dict_of(arguments);
  if (name == "namespace") return make_namespace(arguments);
  if (name == "strftime_now") return strftime_now(arguments);
  const auto args = bind(arguments, name, {"message"}, 1);  // raise_exception
  throw ValueError{budget_.str(*args[0])};
}

Value Renderer::make_namespace(const Arguments& arguments) {
  const Value dict = make_dict_of(arguments);
  Namespace& space = namespaces_.emplace_back();
  for (const auto& [key, value] : dict.as_dict()->entries) {
    if (!key.as_text() || key.as_text()->starts_with("_")) {
      throw ValueError{"The names in a namespace are texts without a leading underscore."};
    }
    space.set(*key.as_text(), value);
  }
  return Value::space(&space);
}

Value Renderer::strftime_now(const Arguments& arguments) {
  const Value& format = *bind(arguments, "strftime_now", {"format"}, 1)[0];
  if (!now_)
    throw ValueError{"The template asks for today's date (strftime_now), and none was given."};
  if (!format.as_text()) throw ValueError{"'strftime_now' wants a format as a str."};
  std::string out;
  const std::string& text = *format.as_text();
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out.push_back(text[i]);
      continue;
    }
    std::string directive = "%";
    if (i + 1 < text.size() && text[i + 1] == '-') directive.push_back(text[++i]);
    const char letter = i + 1 < text.size() ? text[++i] : '\0';
    if (std::string_view("aAbBdeHIjmMpSyY%").find(letter) == std::string_view::npos) {
      throw ValueError{"'strftime_now' was given " + directive + letter +
                       ". Of its directives there are a A b B d e H I j m M p S y Y."};
    }
    directive.push_back(letter);
    char buffer[64];
    out.append(buffer, std::strftime(buffer, sizeof buffer, directive.c_str(), &*now_));
  }
  return budget_.text(std::move(out));
}

}  // namespace raptly::jinja
