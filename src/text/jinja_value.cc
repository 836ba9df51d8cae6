#include "text/jinja_value.h"

#include <algorithm>
#include <cmath>

namespace raptly::jinja {
namespace {

constexpr std::int64_t kMaxWeight = std::int64_t{1} << 40;

int depth_of(const Value& value) {
  if (const Sequence* s = value.as_sequence()) return s->depth;
  if (const Dict* d = value.as_dict()) return d->depth;
  return 0;
}

int checked_depth(int inner) {
  if (inner + 1 > kMaxValueDepth) {
    throw ValueError{"Values are nested deeper than " + std::to_string(kMaxValueDepth) + "."};
  }
  return inner + 1;
}

// Python's types that compare as sequences of the same kind.
bool same_kind(const Sequence& a, const Sequence& b) {
  return a.kind == b.kind && (a.kind == SequenceKind::kList || a.kind == SequenceKind::kTuple);
}

// A number that compares; -1, 0, 1, or 2 when there is no order (nan).
int compare_numbers(const Value& a, const Value& b) {
  if (!a.as_real() && !b.as_real()) {
    const std::int64_t x = a.to_integer();
    const std::int64_t y = b.to_integer();
    return x < y ? -1 : x > y ? 1 : 0;
  }
  const double x = a.to_real();
  const double y = b.to_real();
  if (std::isnan(x) || std::isnan(y)) return 2;
  return x < y ? -1 : x > y ? 1 : 0;
}

bool equal_sequences(const Sequence& a, const Sequence& b) {
  if (&a == &b) return true;
  return same_kind(a, b) &&
         std::equal(a.items.begin(), a.items.end(), b.items.begin(), b.items.end(), equal);
}

bool equal_dicts(const Dict& a, const Dict& b) {
  if (&a == &b) return true;
  if (a.entries.size() != b.entries.size()) return false;
  return std::all_of(a.entries.begin(), a.entries.end(), [&](const auto& entry) {
    const Value* other = b.find(entry.first);
    return other && equal(entry.second, *other);
  });
}

}  // namespace

std::string in_quotes(std::string_view name) {
  std::string out(1, '\'');
  out += name;
  out.push_back('\'');
  return out;
}

Value Value::undefined(std::string why) {
  return Value(Data(Undefined{std::make_shared<const std::string>(std::move(why))}));
}

Value Value::text(std::string s) {
  return Value(Data(std::make_shared<const std::string>(std::move(s))));
}

std::int64_t Value::to_integer() const {
  if (const bool* b = as_bool()) return *b ? 1 : 0;
  return *as_integer();
}

double Value::to_real() const {
  if (const double* d = as_real()) return *d;
  return static_cast<double>(to_integer());
}

std::string Value::why_undefined() const {
  const auto* u = std::get_if<Undefined>(&data_);
  return u && u->why ? *u->why : "the value is undefined";
}

std::string Value::type_name() const {
  if (is_undefined()) return "Undefined";
  if (is_none()) return "NoneType";
  if (as_bool()) return "bool";
  if (as_integer()) return "int";
  if (as_real()) return "float";
  if (as_text()) return "str";
  if (as_dict()) return "dict";
  if (as_namespace()) return "Namespace";
  const Sequence* s = as_sequence();
  if (!s) return "function";
  switch (s->kind) {
    case SequenceKind::kList:
      return "list";
    case SequenceKind::kTuple:
      return "tuple";
    case SequenceKind::kRange:
      return "range";
    case SequenceKind::kView:
      return "dict view";
    case SequenceKind::kGenerator:
      return "generator";
  }
  return "list";
}

bool Value::truth() const {
  if (is_undefined() || is_none()) return false;
  if (const bool* b = as_bool()) return *b;
  if (const std::int64_t* i = as_integer()) return *i != 0;
  if (const double* d = as_real()) return *d != 0;
  if (const std::string* t = as_text()) return !t->empty();
  if (const Dict* d = as_dict()) return !d->entries.empty();
  if (const Sequence* s = as_sequence()) {
    return s->kind == SequenceKind::kGenerator || !s->items.empty();
  }
  return true;
}

const Value* Dict::find(const Value& key) const {
  for (const auto& [k, v] : entries) {
    if (equal(k, key)) return &v;
  }
  return nullptr;
}

const Value* Dict::find(std::string_view key) const {
  for (const auto& [k, v] : entries) {
    const std::string* text = k.as_text();
    if (text && *text == key) return &v;
  }
  return nullptr;
}

const Value* Namespace::find(std::string_view name) const {
  for (const auto& [k, v] : attributes) {
    if (k == name) return &v;
  }
  return nullptr;
}

void Namespace::set(std::string_view name, Value value) {
  for (auto& [k, v] : attributes) {
    if (k == name) {
      v = std::move(value);
      return;
    }
  }
  attributes.emplace_back(std::string(name), std::move(value));
}

Value make_sequence(std::vector<Value> items, SequenceKind kind) {
  int inner = 0;
  std::int64_t total = 1;
  for (const Value& item : items) {
    inner = std::max(inner, depth_of(item));
    total = std::min(total + weight(item), kMaxWeight);
  }
  auto s = std::make_shared<Sequence>();
  s->kind = kind;
  s->depth = checked_depth(inner);
  s->weight = total;
  s->items = std::move(items);
  return Value::items(std::move(s));
}

Value make_dict(std::vector<std::pair<Value, Value>> entries) {
  auto d = std::make_shared<Dict>();
  int inner = 0;
  std::int64_t total = 1;
  for (auto& [key, value] : entries) {
    if (!key.as_text() && !key.is_number() && !key.is_none()) {
      throw ValueError{"A " + key.type_name() + " cannot be a key of a dict."};
    }
    inner = std::max(inner, depth_of(value));
    total = std::min(total + weight(key) + weight(value), kMaxWeight);
    const auto same = std::find_if(d->entries.begin(), d->entries.end(),
                                   [&](const auto& entry) { return equal(entry.first, key); });
    if (same != d->entries.end()) {
      same->second = std::move(value);
    } else {
      d->entries.emplace_back(std::move(key), std::move(value));
    }
  }
  d->depth = checked_depth(inner);
  d->weight = total;
  return Value::mapping(std::move(d));
}

std::int64_t weight(const Value& value) {
  if (const std::string* text = value.as_text()) {
    return 1 + static_cast<std::int64_t>(text->size() / 64);
  }
  if (const Sequence* s = value.as_sequence()) return s->weight;
  if (const Dict* d = value.as_dict()) return d->weight;
  return 1;
}

bool equal(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) return compare_numbers(a, b) == 0;
  if (a.as_text() && b.as_text()) return *a.as_text() == *b.as_text();
  if (a.as_sequence() && b.as_sequence())
    return equal_sequences(*a.as_sequence(), *b.as_sequence());
  if (a.as_dict() && b.as_dict()) return equal_dicts(*a.as_dict(), *b.as_dict());
  if (a.as_namespace() && b.as_namespace()) return a.as_namespace() == b.as_namespace();
  return (a.is_none() && b.is_none()) || (a.is_undefined() && b.is_undefined());
}

bool less(const Value& a, const Value& b) {
  if (a.is_undefined()) throw ValueError{a.why_undefined() + "."};
  if (b.is_undefined()) throw ValueError{b.why_undefined() + "."};
  if (a.is_number() && b.is_number()) return compare_numbers(a, b) == -1;
  if (a.as_text() && b.as_text()) return *a.as_text() < *b.as_text();
  const Sequence* x = a.as_sequence();
  const Sequence* y = b.as_sequence();
  if (x && y && same_kind(*x, *y)) {
    const std::size_t n = std::min(x->items.size(), y->items.size());
    for (std::size_t i = 0; i < n; ++i) {
      if (!equal(x->items[i], y->items[i])) return less(x->items[i], y->items[i]);
    }
    return x->items.size() < y->items.size();
  }
  throw ValueError{"A " + a.type_name() + " and a " + b.type_name() + " have no order."};
}

}  // namespace raptly::jinja
