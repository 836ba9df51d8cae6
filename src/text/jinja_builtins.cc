#include "text/jinja_builtins.h"

#include <algorithm>
#include <array>

#include "text/jinja_text.h"

namespace raptly::jinja {
namespace {

using Names = std::initializer_list<std::string_view>;

bool in(std::string_view name, Names names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::size_t normal_index(std::int64_t i, std::size_t size) {  // size when out of range
  if (i < 0) i += static_cast<std::int64_t>(size);
  return i < 0 || i >= static_cast<std::int64_t>(size) ? size : static_cast<std::size_t>(i);
}

Value missing(const Value& object, std::string_view name) {
  return Value::undefined(object.type_name() + " has no item or attribute '" + std::string(name) +
                          "'");
}

Value item_at(Budget& budget, const Value& object, std::int64_t i) {
  if (const Sequence* s = object.as_sequence()) {
    if (s->kind == SequenceKind::kView || s->kind == SequenceKind::kGenerator) {
      return missing(object, std::to_string(i));
    }
    const std::size_t at = normal_index(i, s->items.size());
    return at < s->items.size() ? s->items[at] : missing(object, std::to_string(i));
  }
  const std::string& text = *object.as_text();
  budget.charge(weight(object));
  const std::vector<std::string_view> chars = split_chars(text);
  const std::size_t at = normal_index(i, chars.size());
  return at < chars.size() ? Value::text(chars[at]) : missing(object, std::to_string(i));
}

}  // namespace

bool is_function(std::string_view name) {
  return in(name, {"range", "namespace", "dict", "raise_exception", "strftime_now"});
}

bool is_filter(std::string_view name) {
  return in(name,
            {"trim",  "length",  "count",  "upper",   "lower",      "capitalize", "join",   "first",
             "last",  "default", "d",      "replace", "tojson",     "list",       "string", "safe",
             "items", "reverse", "select", "reject",  "selectattr", "rejectattr", "map"});
}

bool is_test(std::string_view name) {
  return in(name, {"defined",  "undefined", "none",    "string",   "mapping",     "iterable",
                   "sequence", "number",    "integer", "float",    "boolean",     "true",
                   "false",    "odd",       "even",    "callable", "divisibleby", "eq",
                   "equalto",  "==",        "ne",      "!=",       "lt",          "lessthan",
                   "<",        "le",        "<=",      "gt",       "greaterthan", ">",
                   "ge",       ">=",        "in"});
}

bool is_method(std::string_view name) {
  return in(name, {"strip", "lstrip", "rstrip", "split", "startswith", "endswith", "upper", "lower",
                   "capitalize", "replace", "find", "count", "join", "removeprefix", "removesuffix",
                   "items", "keys", "values", "get"});
}

bool has_method(const Value& value, std::string_view name) {
  if (value.as_dict()) {
    return in(name, {"clear", "copy", "fromkeys", "get", "items", "keys", "pop", "popitem",
                     "setdefault", "update", "values"});
  }
  if (value.as_text()) {
    return in(
        name,
        {"capitalize",   "casefold",    "center",    "count",      "encode",       "endswith",
         "expandtabs",   "find",        "format",    "format_map", "index",        "isalnum",
         "isalpha",      "isascii",     "isdecimal", "isdigit",    "isidentifier", "islower",
         "isnumeric",    "isprintable", "isspace",   "istitle",    "isupper",      "join",
         "ljust",        "lower",       "lstrip",    "maketrans",  "partition",    "removeprefix",
         "removesuffix", "replace",     "rfind",     "rindex",     "rjust",        "rpartition",
         "rsplit",       "rstrip",      "split",     "splitlines", "startswith",   "strip",
         "swapcase",     "title",       "translate", "upper",      "zfill"});
  }
  const Sequence* s = value.as_sequence();
  if (!s) return false;
  if (s->kind == SequenceKind::kTuple) return in(name, {"count", "index"});
  return s->kind == SequenceKind::kList &&
         in(name, {"append", "clear", "copy", "count", "extend", "index", "insert", "pop", "remove",
                   "reverse", "sort"});
}

void Budget::charge(std::int64_t steps) {
  steps_ += std::min(steps, kMaxSteps + 1);
  if (steps_ > kMaxSteps) {
    throw ValueError{"The template takes more than " + std::to_string(kMaxSteps) + " steps."};
  }
}

void Budget::charge_search(std::string_view text, std::string_view needle) {
  charge(static_cast<std::int64_t>((text.size() / 64 + 1) * (needle.size() / 64 + 1)));
}

Value Budget::text(std::string s) {
  if (s.size() > kMaxText) {
    throw ValueError{"A text passes " + std::to_string(kMaxText) + " bytes."};
  }
  charge(static_cast<std::int64_t>(s.size() / 64));
  return Value::text(std::move(s));
}

Value Budget::sequence(std::vector<Value> items, SequenceKind kind) {
  charge(static_cast<std::int64_t>(items.size() / 4));
  return make_sequence(std::move(items), kind);
}

std::string Budget::str(const Value& value) {
  std::string out;
  append_str(out, value, kMaxText);
  charge(static_cast<std::int64_t>(out.size() / 64));
  return out;
}

std::vector<const Value*> bind(const Arguments& arguments, std::string_view what,
                               const std::vector<std::string_view>& names, std::size_t required) {
  std::vector<const Value*> out(names.size(), nullptr);
  const std::string who = in_quotes(what);
  if (arguments.positional.size() > names.size()) {
    throw ValueError{who + " takes at most " + std::to_string(names.size()) + " arguments, " +
                     std::to_string(arguments.positional.size()) + " were given."};
  }
  for (std::size_t i = 0; i < arguments.positional.size(); ++i) out[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    const auto at = std::find(names.begin(), names.end(), std::string_view(name));
    if (at == names.end()) throw ValueError{who + " has no argument '" + name + "'."};
    const Value*& slot = out[static_cast<std::size_t>(at - names.begin())];
    if (slot) throw ValueError{who + " was given '" + name + "' twice."};
    slot = &value;
  }
  for (std::size_t i = 0; i < required; ++i) {
    if (!out[i]) throw ValueError{who + " needs an argument '" + std::string(names[i]) + "'."};
  }
  return out;
}

Value arithmetic_add(Budget& budget, const Value& a, const Value& b) {
  if (a.is_undefined()) throw ValueError{a.why_undefined() + "."};
  if (b.is_undefined()) throw ValueError{b.why_undefined() + "."};
  if (a.is_number() && b.is_number()) {
    if (a.as_real() || b.as_real()) return Value::real(a.to_real() + b.to_real());
    std::int64_t sum = 0;
    if (__builtin_add_overflow(a.to_integer(), b.to_integer(), &sum)) {
      throw ValueError{"An integer passes 64 bits."};
    }
    return Value::integer(sum);
  }
  if (a.as_text() && b.as_text()) return budget.text(*a.as_text() + *b.as_text());
  const Sequence* x = a.as_sequence();
  const Sequence* y = b.as_sequence();
  if (x && y && x->kind == y->kind &&
      (x->kind == SequenceKind::kList || x->kind == SequenceKind::kTuple)) {
    std::vector<Value> items = x->items;
    items.insert(items.end(), y->items.begin(), y->items.end());
    return budget.sequence(std::move(items), x->kind);
  }
  throw ValueError{"A " + a.type_name() + " and a " + b.type_name() + " cannot be added."};
}

bool contains(Budget& budget, const Value& item, const Value& container) {
  if (const std::string* text = container.as_text()) {
    if (!item.as_text())
      throw ValueError{"Only a str can be in a str, not a " + item.type_name() + "."};
    budget.charge_search(*text, *item.as_text());
    return text->find(*item.as_text()) != std::string::npos;
  }
  if (const Dict* d = container.as_dict()) {
    const Sequence* s = item.as_sequence();
    if (item.as_dict() || (s && s->kind == SequenceKind::kList)) {
      throw ValueError{"A " + item.type_name() + " cannot be a key of a dict."};
    }
    budget.charge(static_cast<std::int64_t>(d->entries.size() / 16));
    return d->find(item) != nullptr;
  }
  if (container.is_undefined()) return false;
  const std::vector<Value> items = iterate(budget, container);
  budget.charge(
      std::min(weight(container), weight(item) * static_cast<std::int64_t>(items.size())) / 8);
  return std::any_of(items.begin(), items.end(), [&](const Value& v) { return equal(v, item); });
}

std::vector<Value> iterate(Budget& budget, const Value& value) {
  std::vector<Value> out;
  if (const Sequence* s = value.as_sequence()) {
    if (s->kind == SequenceKind::kGenerator && std::exchange(s->walked, true)) return out;
    budget.charge(static_cast<std::int64_t>(s->items.size() / 4));
    return s->items;
  }
  if (const Dict* d = value.as_dict()) {
    budget.charge(static_cast<std::int64_t>(d->entries.size() / 4));
    for (const auto& entry : d->entries) out.push_back(entry.first);
    return out;
  }
  if (const std::string* text = value.as_text()) {
    budget.charge(static_cast<std::int64_t>(text->size()));
    for (const std::string_view c : split_chars(*text)) out.push_back(Value::text(c));
    return out;
  }
  if (!value.is_undefined())
    throw ValueError{"A " + value.type_name() + " has no items to walk over."};
  return out;
}

Value get_item(Budget& budget, const Value& object, const Value& key) {
  if (object.is_undefined()) throw ValueError{object.why_undefined() + "."};
  if (const Dict* d = object.as_dict()) {
    budget.charge(static_cast<std::int64_t>(d->entries.size() / 16));
    if (const Value* found = d->find(key)) return *found;
  }
  if ((object.as_sequence() || object.as_text()) && (key.as_integer() || key.as_bool())) {
    return item_at(budget, object, key.to_integer());
  }
  const std::string* name = key.as_text();
  if (!name) return missing(object, key.is_number() ? budget.str(key) : key.type_name());
  if (const Namespace* n = object.as_namespace()) {
    const Value* found = n->find(*name);
    return found ? *found : missing(object, *name);
  }
  return has_method(object, *name) ? Value::builtin() : missing(object, *name);
}

Value get_attribute(Budget& budget, const Value& object, std::string_view name) {
  if (object.is_undefined()) throw ValueError{object.why_undefined() + "."};
  if (has_method(object, name)) return Value::builtin();
  if (const Namespace* n = object.as_namespace()) {
    const Value* found = n->find(name);
    return found ? *found : missing(object, name);
  }
  const Dict* d = object.as_dict();
  if (!d) return missing(object, name);
  budget.charge(static_cast<std::int64_t>(d->entries.size() / 16));
  const Value* found = d->find(name);
  return found ? *found : missing(object, name);
}

}  // namespace raptly::jinja
