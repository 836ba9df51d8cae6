#include <cmath>

#include "text/jinja_builtins.h"

namespace raptly::jinja {
namespace {

// value % divisor == expected
bool has_remainder(const Value& value, const Value& divisor, double expected,
                   std::string_view what) {
  if (!value.is_number() || !divisor.is_number()) {
    throw ValueError{"'is " + std::string(what) + "' wants numbers, not a " + value.type_name() +
                     " and a " + divisor.type_name() + "."};
  }
  if (divisor.to_real() == 0) throw ValueError{"Division by zero."};
  if (value.as_real() || divisor.as_real()) {
    const double rest = std::fmod(value.to_real(), divisor.to_real());
    return (rest < 0) != (divisor.to_real() < 0) && rest != 0 ? rest + divisor.to_real() == expected
                                                              : rest == expected;
  }
  const std::int64_t d = divisor.to_integer();
  const std::int64_t rest = d == -1 ? 0 : value.to_integer() % d;
  return static_cast<double>(rest != 0 && (rest < 0) != (d < 0) ? rest + d : rest) == expected;
}

bool is_iterable(const Value& value) {
  return value.is_undefined() || value.as_text() || value.as_sequence() || value.as_dict();
}

bool is_sequence(const Value& value) {  // has a length and takes subscripts
  const Sequence* s = value.as_sequence();
  return value.is_undefined() || value.as_text() || value.as_dict() ||
         (s && s->kind != SequenceKind::kView && s->kind != SequenceKind::kGenerator);
}

// Tests that look at the value alone; `known` says whether there is one of that name.
bool plain_test(std::string_view name, const Value& value, bool& known) {
  known = true;
  if (name == "defined") return !value.is_undefined();
  if (name == "undefined") return value.is_undefined();
  if (name == "none") return value.is_none();
  if (name == "string") return value.as_text() != nullptr;
  if (name == "mapping") return value.as_dict() != nullptr;
  if (name == "iterable") return is_iterable(value);
  if (name == "sequence") return is_sequence(value);
  if (name == "number") return value.is_number();
  if (name == "integer") return value.as_integer() != nullptr;
  if (name == "float") return value.as_real() != nullptr;
  if (name == "boolean") return value.as_bool() != nullptr;
  if (name == "true") return value.as_bool() && *value.as_bool();
  if (name == "false") return value.as_bool() && !*value.as_bool();
  if (name == "callable") return value.is_builtin() || value.is_undefined();
  if (name == "odd") return has_remainder(value, Value::integer(2), 1, name);
  if (name == "even") return has_remainder(value, Value::integer(2), 0, name);
  known = false;
  return false;
}

}  // namespace

bool apply_test(Budget& budget, std::string_view name, const Value& input,
                const Arguments& arguments) {
  bool known = false;
  if (const bool result = plain_test(name, input, known); known) {
    bind(arguments, name, {}, 0);
    return result;
  }
  const Value& other = *bind(arguments, name, {"other"}, 1)[0];
  budget.charge(std::min(weight(input), weight(other)) / 8);
  if (name == "divisibleby") return has_remainder(input, other, 0, name);
  if (name == "eq" || name == "equalto" || name == "==") return equal(input, other);
  if (name == "ne" || name == "!=") return !equal(input, other);
  if (name == "lt" || name == "lessthan" || name == "<") return less(input, other);
  if (name == "gt" || name == "greaterthan" || name == ">") return less(other, input);
  if (name == "le" || name == "<=") return less(input, other) || equal(input, other);
  if (name == "ge" || name == ">=") return less(other, input) || equal(input, other);
  if (name == "in") return contains(budget, input, other);
  throw ValueError{"There is no test '" + std::string(name) + "' here."};
}

}  // namespace raptly::jinja
