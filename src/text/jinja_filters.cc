#include <algorithm>

#include "text/jinja_builtins.h"
#include "text/jinja_text.h"

namespace raptly::jinja {
namespace {

std::int64_t integer_of(const Value& value, std::string_view what) {
  if (!value.as_integer() && !value.as_bool()) {
    throw ValueError{"'" + std::string(what) + "' wants an integer, not a " + value.type_name() +
                     "."};
  }
  return value.to_integer();
}

void no_arguments(const Arguments& arguments, std::string_view what) {
  bind(arguments, what, {}, 0);
}

Value filter_length(Budget& budget, const Value& input) {
  if (const Sequence* s = input.as_sequence(); s && s->kind != SequenceKind::kGenerator) {
    return Value::integer(static_cast<std::int64_t>(s->items.size()));
  }
  if (const Dict* d = input.as_dict()) {
    return Value::integer(static_cast<std::int64_t>(d->entries.size()));
  }
  if (const std::string* text = input.as_text()) {
    budget.charge(weight(input));
    return Value::integer(count_chars(*text));
  }
  if (input.is_undefined()) return Value::integer(0);
  throw ValueError{"A " + input.type_name() + " has no length."};
}

Value filter_default(const Value& input, const Arguments& arguments) {
  const auto args = bind(arguments, "default", {"default_value", "boolean"}, 0);
  const bool by_truth = args[1] && args[1]->truth();
  if (!input.is_undefined() && !(by_truth && !input.truth())) return input;
  return args[0] ? *args[0] : Value::text("");
}

Value filter_trim(Budget& budget, const Value& input, const Arguments& arguments) {
  const auto args = bind(arguments, "trim", {"chars"}, 0);
  const std::string text = budget.str(input);
  if (!args[0] || args[0]->is_none()) return Value::text(strip_space(text));
  if (!args[0]->as_text()) throw ValueError{"'trim' wants its characters as a str."};
  budget.charge(static_cast<std::int64_t>(args[0]->as_text()->size()));
  return Value::text(strip_chars(text, *args[0]->as_text(), true, true));
}

// "a.b" or "a.0" or 0, looked up step by step.
Value attribute_path(Budget& budget, const Value& item, const Value& path) {
  if (path.as_integer()) return get_item(budget, item, path);
  if (!path.as_text())
    throw ValueError{"An attribute is named by a str, not a " + path.type_name() + "."};
  Value value = item;
  for (const std::string_view part : split_at(*path.as_text(), ".", -1)) {
    budget.charge(1);
    const bool digits = !part.empty() && part.size() < 10 &&
                        part.find_first_not_of("0123456789") == std::string_view::npos;
    value = get_item(budget, value,
                     digits ? Value::integer(std::stoll(std::string(part))) : Value::text(part));
  }
  return value;
}

Value filter_join(Budget& budget, const Value& input, const Arguments& arguments) {
  const auto args = bind(arguments, "join", {"d", "attribute"}, 0);
  const std::string separator = args[0] ? budget.str(*args[0]) : "";
  std::string out;
  bool first = true;
  for (const Value& item : iterate(budget, input)) {
    if (!first) out += separator;
    first = false;
    budget.charge(1);
    append_str(out, args[1] && !args[1]->is_none() ? attribute_path(budget, item, *args[1]) : item,
               Budget::kMaxText);
  }
  return budget.text(std::move(out));
}

Value filter_end(Budget& budget, const Value& input, bool last) {
  const Sequence* s = input.as_sequence();
  if (last && s && s->kind == SequenceKind::kGenerator) {
    throw ValueError{"A generator has no last item. Make it a list with \"| list\"."};
  }
  const std::vector<Value> items = iterate(budget, input);
  if (items.empty()) return Value::undefined("No item, the sequence was empty");
  return last ? items.back() : items.front();
}

Value filter_replace(Budget& budget, const Value& input, const Arguments& arguments) {
  const auto args = bind(arguments, "replace", {"old", "new", "count"}, 2);
  const std::int64_t count = args[2] && !args[2]->is_none() ? integer_of(*args[2], "replace") : -1;
  const std::string text = budget.str(input);
  const std::string from = budget.str(*args[0]);
  budget.charge_search(text, from);
  auto out = replace_all(text, from, budget.str(*args[1]), count, Budget::kMaxText);
  if (!out) throw ValueError{"A text passes " + std::to_string(Budget::kMaxText) + " bytes."};
  return budget.text(std::move(*out));
}

Value filter_tojson(Budget& budget, const Value& input, const Arguments& arguments) {
  const auto args =
      bind(arguments, "tojson", {"ensure_ascii", "indent", "separators", "sort_keys"}, 0);
  JsonStyle style;
  style.ensure_ascii = args[0] && args[0]->truth();
  style.sort_keys = args[3] && args[3]->truth();
  if (args[1] && !args[1]->is_none()) {
    style.indent =
        static_cast<int>(std::clamp<std::int64_t>(integer_of(*args[1], "tojson"), 0, 64));
  }
  if (args[2] && !args[2]->is_none()) {
    const Sequence* pair = args[2]->as_sequence();
    if (!pair || pair->items.size() != 2 || !pair->items[0].as_text() ||
        !pair->items[1].as_text() || pair->items[0].as_text()->empty() ||
        pair->items[1].as_text()->empty()) {
      throw ValueError{"The separators of 'tojson' are two texts: (item, key)."};
    }
    style.item_separator = *pair->items[0].as_text();
    style.key_separator = *pair->items[1].as_text();
  }
  std::string out;
  append_json(out, input, style, Budget::kMaxText);
  return budget.text(std::move(out));
}

Value filter_reverse(Budget& budget, const Value& input) {
  if (const std::string* text = input.as_text()) {
    budget.charge(weight(input));
    std::vector<std::string_view> chars = split_chars(*text);
    std::string out;
    std::for_each(chars.rbegin(), chars.rend(), [&](std::string_view c) { out += c; });
    return budget.text(std::move(out));
  }
  std::vector<Value> items = iterate(budget, input);
  std::reverse(items.begin(), items.end());
  return budget.sequence(std::move(items), SequenceKind::kGenerator);
}

Value filter_items(Budget& budget, const Value& input, const Arguments& arguments) {
  if (input.is_undefined()) return budget.sequence({}, SequenceKind::kGenerator);
  if (!input.as_dict()) throw ValueError{"'items' wants a dict, not a " + input.type_name() + "."};
  const auto& items = iterate(budget, call_method(budget, input, "items", arguments));
  return budget.sequence(items, SequenceKind::kGenerator);
}

std::string name_of(const Value& value, std::string_view what) {
  const std::string* name = value.as_text();
  if (!name || !(what == "test" ? is_test(*name) : is_filter(*name))) {
    throw ValueError{"There is no " + std::string(what) + " '" +
                     (name ? *name : value.type_name()) + "' here."};
  }
  return *name;
}

Arguments rest_of(const Arguments& arguments, std::size_t first) {
  Arguments rest;
  for (std::size_t i = first; i < arguments.positional.size(); ++i) {
    rest.positional.push_back(arguments.positional[i]);
  }
  rest.named = arguments.named;
  return rest;
}

// jinja2's select and map give nothing for what is false, be it none or 0.
std::vector<Value> items_or_nothing(Budget& budget, const Value& input) {
  return input.truth() ? iterate(budget, input) : std::vector<Value>();
}

// select, reject, selectattr, rejectattr: keep the items (or those whose attribute) pass a test.
Value filter_select(Budget& budget, const Value& input, const Arguments& arguments, bool keep,
                    bool by_attribute) {
  const std::size_t first = by_attribute ? 1 : 0;
  if (arguments.positional.size() < first) throw ValueError{"The name of an attribute is missing."};
  const bool has_test = arguments.positional.size() > first;
  const std::string test = has_test ? name_of(arguments.positional[first], "test") : "";
  const Arguments rest = has_test ? rest_of(arguments, first + 1) : Arguments{};
  std::vector<Value> out;
  for (const Value& item : items_or_nothing(budget, input)) {
    budget.charge(1);
    const Value value = by_attribute ? attribute_path(budget, item, arguments.positional[0]) : item;
    if ((has_test ? apply_test(budget, test, value, rest) : value.truth()) == keep) {
      out.push_back(item);
    }
  }
  return budget.sequence(std::move(out), SequenceKind::kGenerator);
}

Value filter_map(Budget& budget, const Value& input, const Arguments& arguments) {
  const bool by_attribute = arguments.positional.empty();
  std::vector<Value> out;
  if (by_attribute) {
    const auto args = bind(arguments, "map", {"attribute", "default"}, 1);
    for (const Value& item : items_or_nothing(budget, input)) {
      Value value = attribute_path(budget, item, *args[0]);
      if (value.is_undefined() && args[1] && !args[1]->is_none()) value = *args[1];
      out.push_back(std::move(value));
    }
  } else {
    const std::string name = name_of(arguments.positional[0], "filter");
    const Arguments rest = rest_of(arguments, 1);
    for (const Value& item : items_or_nothing(budget, input)) {
      budget.charge(1);
      out.push_back(apply_filter(budget, name, item, rest));
    }
  }
  return budget.sequence(std::move(out), SequenceKind::kGenerator);
}

}  // namespace

Value apply_filter(Budget& budget, std::string_view name, const Value& input,
                   const Arguments& arguments) {
  if (name == "default" || name == "d") return filter_default(input, arguments);
  if (name == "trim") return filter_trim(budget, input, arguments);
  if (name == "join") return filter_join(budget, input, arguments);
  if (name == "replace") return filter_replace(budget, input, arguments);
  if (name == "tojson") return filter_tojson(budget, input, arguments);
  if (name == "select") return filter_select(budget, input, arguments, true, false);
  if (name == "reject") return filter_select(budget, input, arguments, false, false);
  if (name == "selectattr") return filter_select(budget, input, arguments, true, true);
  if (name == "rejectattr") return filter_select(budget, input, arguments, false, true);
  if (name == "map") return filter_map(budget, input, arguments);
  no_arguments(arguments, name);
  if (name == "length" || name == "count") return filter_length(budget, input);
  if (name == "upper") return budget.text(upper(budget.str(input)));
  if (name == "lower") return budget.text(lower(budget.str(input)));
  if (name == "capitalize") return budget.text(capitalize(budget.str(input)));
  if (name == "first") return filter_end(budget, input, false);
  if (name == "last") return filter_end(budget, input, true);
  if (name == "list") return budget.sequence(iterate(budget, input));
  if (name == "string") return budget.text(budget.str(input));
  if (name == "items") return filter_items(budget, input, arguments);
  if (name == "reverse") return filter_reverse(budget, input);
  throw ValueError{"There is no filter '" + std::string(name) + "' here."};
}

}  // namespace raptly::jinja
