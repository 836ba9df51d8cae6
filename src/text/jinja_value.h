// The values of a template: Python's, as far as chat templates see them. Lists and dicts never
// change once made (transformers renders in an immutable sandbox); only a namespace does.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace raptly::jinja {

inline constexpr int kMaxValueDepth = 64;  // lists within lists

class Value;
struct Sequence;
struct Dict;
struct Namespace;

struct Undefined {
  std::shared_ptr<const std::string> why;  // "'tools' is undefined"
};
struct None {};
struct Builtin {};  // a function or bound method that is only looked at, not called

class Value {
 public:
  using Text = std::shared_ptr<const std::string>;
  using Items = std::shared_ptr<const Sequence>;
  using Mapping = std::shared_ptr<const Dict>;

  Value() : data_(Undefined{}) {}
  static Value undefined(std::string why);
  static Value none() { return Value(Data(None{})); }
  static Value boolean(bool b) { return Value(Data(b)); }
  static Value integer(std::int64_t i) { return Value(Data(i)); }
  static Value real(double d) { return Value(Data(d)); }
  static Value text(std::string_view s) { return text(std::string(s)); }
  static Value text(std::string s);
  static Value text(const char* s) { return text(std::string(s)); }
  static Value builtin() { return Value(Data(Builtin{})); }
  static Value space(Namespace* n) { return Value(Data(n)); }
  static Value items(Items s) { return Value(Data(std::move(s))); }
  static Value mapping(Mapping d) { return Value(Data(std::move(d))); }

  bool is_undefined() const { return std::holds_alternative<Undefined>(data_); }
  bool is_none() const { return std::holds_alternative<None>(data_); }
  bool is_builtin() const { return std::holds_alternative<Builtin>(data_); }
  const bool* as_bool() const { return std::get_if<bool>(&data_); }
  const std::int64_t* as_integer() const { return std::get_if<std::int64_t>(&data_); }
  const double* as_real() const { return std::get_if<double>(&data_); }
  const std::string* as_text() const { return pointee<Text>(); }
  const Sequence* as_sequence() const { return pointee<Items>(); }
  const Dict* as_dict() const { return pointee<Mapping>(); }
  Namespace* as_namespace() const {
    const auto* n = std::get_if<Namespace*>(&data_);
    return n ? *n : nullptr;
  }
  bool is_number() const { return as_bool() || as_integer() || as_real(); }
  // A bool counts as 0 or 1.
  std::int64_t to_integer() const;  // of a bool or an integer
  double to_real() const;           // of a number

  std::string why_undefined() const;
  std::string type_name() const;  // as Python's messages have it: "str", "int", "list", ...
  bool truth() const;

 private:
  using Data = std::variant<Undefined, None, bool, std::int64_t, double, Text, Items, Mapping,
                            Namespace*, Builtin>;
  explicit Value(Data data) : data_(std::move(data)) {}
  template <class P>
  auto pointee() const -> decltype(std::declval<P>().get()) {
    const P* p = std::get_if<P>(&data_);
    return p ? p->get() : nullptr;
  }
  Data data_;
};

enum class SequenceKind {
  kList,
  kTuple,
  kRange,
  kView,       // dict.keys() and the like
  kGenerator,  // what map, select and reverse give: it can be walked through once
};

struct Sequence {
  SequenceKind kind = SequenceKind::kList;
  std::vector<Value> items;
  int depth = 1;
  std::int64_t weight = 1;
  mutable bool walked = false;  // a generator that has given its items
};

struct Dict {
  std::vector<std::pair<Value, Value>> entries;  // in order of insertion
  int depth = 1;
  std::int64_t weight = 1;
  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;
};

struct Namespace {
  std::vector<std::pair<std::string, Value>> attributes;
  const Value* find(std::string_view name) const;
  void set(std::string_view name, Value value);
};

// What goes wrong while a value is made or looked at; the renderer adds the line.
struct ValueError {
  std::string message;
};
std::string in_quotes(std::string_view name);  // 'name', for messages

// Both throw ValueError when values are nested deeper than kMaxValueDepth.
Value make_sequence(std::vector<Value> items, SequenceKind kind = SequenceKind::kList);
// A later entry replaces an earlier one of the same key. Keys are texts, numbers, booleans or none.
Value make_dict(std::vector<std::pair<Value, Value>> entries);

// What it costs to look at all of a value: 1 for each item in it, and for each 64 bytes of text. A
// list that is shared counts each time it is met. Saturates at 2^40.
std::int64_t weight(const Value& value);

bool equal(const Value& a, const Value& b);  // ==

bool less(const Value& a, const Value& b);  // <; throws ValueError for types without an order

// str(value) and repr(value), appended. Throws ValueError where the text would pass `limit` bytes
// or where Python would show something of its own (a method, a range).
void append_str(std::string& out, const Value& value, std::size_t limit);

struct JsonStyle {
  int indent = -1;  // -1: one line
  bool ensure_ascii = false;
  bool sort_keys = false;
  std::string item_separator;  // empty: json.dumps' own
  std::string key_separator;
};
void append_json(std::string& out, const Value& value, const JsonStyle& style, std::size_t limit);

}  // namespace raptly::jinja
