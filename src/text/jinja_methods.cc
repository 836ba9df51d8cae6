// Methods of str, dict and list.
#include <algorithm>

#include "text/jinja_builtins.h"
#include "text/jinja_text.h"

namespace raptly::jinja {
namespace {

const std::string& text_argument(const Value* value, std::string_view method) {
  if (!value->as_text()) {
    throw ValueError{"'" + std::string(method) + "' wants a str, not a " + value->type_name() +
                     "."};
  }
  return *value->as_text();
}

std::int64_t integer_argument(const Value* value, std::string_view method, std::int64_t fallback) {
  if (!value) return fallback;
  if (!value->as_integer() && !value->as_bool()) {
    throw ValueError{"'" + std::string(method) + "' wants an integer, not a " + value->type_name() +
                     "."};
  }
  return value->to_integer();
}

Value strip(Budget& budget, const std::string& text, std::string_view method,
            const Arguments& arguments) {
  const bool left = method != "rstrip";
  const bool right = method != "lstrip";
  const auto args = bind(arguments, method, {"chars"}, 0);
  if (args[0] && !args[0]->is_none()) {
    const std::string& chars = text_argument(args[0], method);
    budget.charge(static_cast<std::int64_t>(chars.size()));
    return budget.text(std::string(strip_chars(text, chars, left, right)));
  }
  std::string_view out = text;
  if (left) out.remove_prefix(leading_space(out));
  if (right) out = rstrip_space(out);
  return budget.text(std::string(out));
}

Value split(Budget& budget, const std::string& text, const Arguments& arguments) {
  const auto args = bind(arguments, "split", {"sep", "maxsplit"}, 0);
  const std::int64_t max_splits = integer_argument(args[1], "split", -1);
  std::vector<std::string_view> parts;
  if (!args[0] || args[0]->is_none()) {
    parts = split_space(text, max_splits);
  } else {
    const std::string& separator = text_argument(args[0], "split");
    if (separator.empty()) throw ValueError{"'split' was given an empty separator."};
    budget.charge_search(text, separator);
    parts = split_at(text, separator, max_splits);
  }
  budget.charge(static_cast<std::int64_t>(parts.size()));
  std::vector<Value> out;
  for (const std::string_view part : parts) out.push_back(Value::text(part));
  return budget.sequence(std::move(out));
}

Value starts_or_ends(const std::string& text, bool starts, const Arguments& arguments) {
  const char* method = starts ? "startswith" : "endswith";
  const auto args = bind(arguments, method, {"prefix"}, 1);
  const auto matches = [&](const Value& v) {
    const std::string& part = text_argument(&v, method);
    return starts ? text.starts_with(part) : text.ends_with(part);
  };
  const Sequence* several = args[0]->as_sequence();
  if (!several || several->kind != SequenceKind::kTuple) return Value::boolean(matches(*args[0]));
  return Value::boolean(std::any_of(several->items.begin(), several->items.end(), matches));
}

Value replace(Budget& budget, const std::string& text, const Arguments& arguments) {
  const auto args = bind(arguments, "replace", {"old", "new", "count"}, 2);
  const std::string& from = text_argument(args[0], "replace");
  budget.charge_search(text, from);
  auto out = replace_all(text, from, text_argument(args[1], "replace"),
                         integer_argument(args[2], "replace", -1), Budget::kMaxText);
  if (!out) throw ValueError{"A text passes " + std::to_string(Budget::kMaxText) + " bytes."};
  return budget.text(std::move(*out));
}

Value find(Budget& budget, const std::string& text, const Arguments& arguments) {
  const std::string& sub = text_argument(bind(arguments, "find", {"sub"}, 1)[0], "find");
  budget.charge_search(text, sub);
  const std::size_t at = text.find(sub);
  if (at == std::string::npos) return Value::integer(-1);
  return Value::integer(count_chars(std::string_view(text).substr(0, at)));
}

Value count(Budget& budget, const std::string& text, const Arguments& arguments) {
  const std::string& sub = text_argument(bind(arguments, "count", {"sub"}, 1)[0], "count");
  budget.charge_search(text, sub);
  if (sub.empty()) return Value::integer(count_chars(text) + 1);
  std::int64_t n = 0;
  for (std::size_t at = text.find(sub); at != std::string::npos;
       at = text.find(sub, at + sub.size())) {
    ++n;
  }
  return Value::integer(n);
}

Value join(Budget& budget, const std::string& separator, const Arguments& arguments) {
  const auto args = bind(arguments, "join", {"iterable"}, 1);
  if (args[0]->is_undefined()) return Value::text("");
  std::string out;
  bool first = true;
  for (const Value& item : iterate(budget, *args[0])) {
    if (!first) out += separator;
    first = false;
    append_str(out, Value::text(text_argument(&item, "join")), Budget::kMaxText);
  }
  return budget.text(std::move(out));
}

Value remove_end(Budget& budget, std::string_view text, bool prefix, const Arguments& arguments) {
  const char* method = prefix ? "removeprefix" : "removesuffix";
  const auto args = bind(arguments, method, {"affix"}, 1);
  const std::string& affix = text_argument(args[0], method);
  if (prefix && text.starts_with(affix)) text.remove_prefix(affix.size());
  if (!prefix && text.ends_with(affix)) text.remove_suffix(affix.size());
  return budget.text(std::string(text));
}

Value text_method(Budget& budget, const std::string& text, std::string_view name,
                  const Arguments& arguments) {
  if (name == "strip" || name == "lstrip" || name == "rstrip") {
    return strip(budget, text, name, arguments);
  }
  if (name == "split") return split(budget, text, arguments);
  if (name == "startswith" || name == "endswith") {
    return starts_or_ends(text, name == "startswith", arguments);
  }
  if (name == "replace") return replace(budget, text, arguments);
  if (name == "find") return find(budget, text, arguments);
  if (name == "count") return count(budget, text, arguments);
  if (name == "join") return join(budget, text, arguments);
  if (name == "removeprefix" || name == "removesuffix") {
    return remove_end(budget, text, name == "removeprefix", arguments);
  }
  bind(arguments, name, {}, 0);
  if (name == "upper") return budget.text(upper(text));
  if (name == "lower") return budget.text(lower(text));
  return budget.text(capitalize(text));
}

Value dict_method(Budget& budget, const Dict& dict, std::string_view name,
                  const Arguments& arguments) {
  if (name == "get") {
    const auto args = bind(arguments, name, {"key", "default"}, 1);
    budget.charge(static_cast<std::int64_t>(dict.entries.size() / 16));
    const Value* found = dict.find(*args[0]);
    return found ? *found : args[1] ? *args[1] : Value::none();
  }
  bind(arguments, name, {}, 0);
  std::vector<Value> out;
  for (const auto& [key, value] : dict.entries) {
    if (name == "items") {
      out.push_back(make_sequence({key, value}, SequenceKind::kTuple));
    } else {
      out.push_back(name == "keys" ? key : value);
    }
  }
  return budget.sequence(std::move(out), SequenceKind::kView);
}

bool is_dict_method(std::string_view name) {
  return name == "items" || name == "keys" || name == "values" || name == "get";
}

}  // namespace

Value call_method(Budget& budget, const Value& object, std::string_view name,
                  const Arguments& arguments) {
  if (object.is_undefined()) throw ValueError{object.why_undefined() + "."};
  if (const Dict* d = object.as_dict(); d && is_dict_method(name)) {
    return dict_method(budget, *d, name, arguments);
  }
  if (const Sequence* s = object.as_sequence(); s && name == "count" && has_method(object, name)) {
    const Value& item = *bind(arguments, name, {"value"}, 1)[0];
    budget.charge(std::min(weight(object), weight(item) * std::ssize(s->items)) / 8);
    return Value::integer(std::count_if(s->items.begin(), s->items.end(),
                                        [&](const Value& v) { return equal(v, item); }));
  }
  if (const std::string* text = object.as_text(); text && !is_dict_method(name)) {
    budget.charge(weight(object));
    return text_method(budget, *text, name, arguments);
  }
  throw ValueError{"A " + object.type_name() + " has no method '" + std::string(name) + "'."};
}

}  // namespace raptly::jinja
