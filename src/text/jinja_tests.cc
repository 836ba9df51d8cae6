#include <cmath>

#include "text/jinja_builtins.h"

namespace raptly::jinja {
namespace {

std::int64_t remainder_of(const Value& value, std::int64_t divisor, std::string_view what) {
  if (!value.as_integer() && !value.as_bool()) {
    throw ValueError{"'is " + std::string(what) + "' wants an integer, not a " + value.type_name() +
                     "."};
  }
  if (divisor == 0) throw ValueError{"Division by zero."};
  return divisor == -1 ? 0 : value.to_integer() % divisor;
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
  if (name == "callable") return value.is_builtin();
  if (name == "odd") return remainder_of(value, 2, name) != 0;
  if (name == "even") return remainder_of(value, 2, name) == 0;
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
  if (name == "divisibleby") {
    if (!other.as_integer()) throw ValueError{"'is divisibleby' wants an integer."};
    return remainder_of(input, *other.as_integer(), name) == 0;
  }
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
