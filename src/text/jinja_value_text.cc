// Values as text: str(), repr() and json.dumps().
#include <algorithm>
#include <cmath>

#include "text/jinja_text.h"
#include "text/jinja_value.h"

namespace raptly::jinja {
namespace {

void check_limit(const std::string& out, std::size_t limit) {
  if (out.size() > limit) {
    throw ValueError{"The output passes " + std::to_string(limit) + " bytes."};
  }
}

void append_repr(std::string& out, const Value& value, std::size_t limit);

void append_scalar(std::string& out, const Value& value) {
  if (value.is_none()) {
    out += "None";
  } else if (const bool* b = value.as_bool()) {
    out += *b ? "True" : "False";
  } else if (const std::int64_t* i = value.as_integer()) {
    out += std::to_string(*i);
  } else if (const double* d = value.as_real()) {
    out += float_repr(*d);
  } else {
    throw ValueError{"A " + value.type_name() + " cannot be written as text."};
  }
}

void append_sequence(std::string& out, const Sequence& s, std::size_t limit) {
  const bool list = s.kind == SequenceKind::kList;
  if (!list && s.kind != SequenceKind::kTuple) {
    throw ValueError{
        "A range, view or generator cannot be written as text. Make it a list with \"| list\"."};
  }
  out.push_back(list ? '[' : '(');
  for (std::size_t i = 0; i < s.items.size(); ++i) {
    if (i > 0) out += ", ";
    append_repr(out, s.items[i], limit);
  }
  if (!list && s.items.size() == 1) out.push_back(',');
  out.push_back(list ? ']' : ')');
}

void append_repr(std::string& out, const Value& value, std::size_t limit) {
  check_limit(out, limit);
  if (value.is_undefined()) {
    out += "Undefined";
  } else if (const std::string* text = value.as_text()) {
    out += quoted(*text);
  } else if (const Sequence* s = value.as_sequence()) {
    append_sequence(out, *s, limit);
  } else if (const Dict* d = value.as_dict()) {
    out.push_back('{');
    for (std::size_t i = 0; i < d->entries.size(); ++i) {
      if (i > 0) out += ", ";
      append_repr(out, d->entries[i].first, limit);
      out += ": ";
      append_repr(out, d->entries[i].second, limit);
    }
    out.push_back('}');
  } else {
    append_scalar(out, value);
  }
}

class JsonWriter {
 public:
  JsonWriter(std::string& out, const JsonStyle& style, std::size_t limit)
      : out_(out),
        style_(style),
        limit_(limit),
        item_separator_(!style.item_separator.empty() ? style.item_separator
                        : style.indent >= 0           ? ","
                                                      : ", "),
        key_separator_(style.key_separator.empty() ? ": " : style.key_separator) {}

  void write(const Value& value, int level) {
    check_limit(out_, limit_);
    if (const std::string* text = value.as_text()) {
      append_json_string(out_, *text, style_.ensure_ascii);
    } else if (const Sequence* s = value.as_sequence()) {
      array(*s, level);
    } else if (const Dict* d = value.as_dict()) {
      object(*d, level);
    } else {
      out_ += scalar(value);
    }
  }

 private:
  void new_line(int level) {
    if (style_.indent < 0) return;
    out_.push_back('\n');
    out_.append(static_cast<std::size_t>(style_.indent) * static_cast<std::size_t>(level), ' ');
  }

  void array(const Sequence& s, int level) {
    if (s.kind != SequenceKind::kList && s.kind != SequenceKind::kTuple) {
      throw ValueError{"A range, view or generator is not JSON. Make it a list with \"| list\"."};
    }
    out_.push_back('[');
    for (std::size_t i = 0; i < s.items.size(); ++i) {
      if (i > 0) out_ += item_separator_;
      new_line(level + 1);
      write(s.items[i], level + 1);
    }
    if (!s.items.empty()) new_line(level);
    out_.push_back(']');
  }

  void object(const Dict& d, int level) {
    const std::vector<const std::pair<Value, Value>*> entries = ordered(d);
    out_.push_back('{');
    for (std::size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) out_ += item_separator_;
      new_line(level + 1);
      const Value& key = entries[i]->first;
      append_json_string(out_, key.as_text() ? *key.as_text() : scalar(key), style_.ensure_ascii);
      out_ += key_separator_;
      write(entries[i]->second, level + 1);
    }
    if (!entries.empty()) new_line(level);
    out_.push_back('}');
  }

  std::vector<const std::pair<Value, Value>*> ordered(const Dict& d) const {
    std::vector<const std::pair<Value, Value>*> out;
    for (const auto& entry : d.entries) {
      // By insertion: nan as a key has no order, which std::sort may not be given.
      const auto at =
          std::upper_bound(out.begin(), out.end(), &entry, [&](const auto* a, const auto* b) {
            return style_.sort_keys && less(a->first, b->first);
          });
      out.insert(at, &entry);
    }
    return out;
  }

  static std::string scalar(const Value& value) {
    if (value.is_none()) return "null";
    if (const bool* b = value.as_bool()) return *b ? "true" : "false";
    if (const std::int64_t* i = value.as_integer()) return std::to_string(*i);
    if (const double* d = value.as_real()) {
      if (std::isnan(*d)) return "NaN";
      if (std::isinf(*d)) return *d < 0 ? "-Infinity" : "Infinity";
      return float_repr(*d);
    }
    if (value.is_undefined()) throw ValueError{value.why_undefined() + "."};
    throw ValueError{"A " + value.type_name() + " is not JSON."};
  }

  std::string& out_;
  const JsonStyle& style_;
  std::size_t limit_;
  std::string item_separator_;
  std::string key_separator_;
};

}  // namespace

void append_str(std::string& out, const Value& value, std::size_t limit) {
  if (const std::string* text = value.as_text()) {
    out += *text;
  } else if (!value.is_undefined()) {
    append_repr(out, value, limit);
  }
  check_limit(out, limit);
}

void append_json(std::string& out, const Value& value, const JsonStyle& style, std::size_t limit) {
  JsonWriter(out, style, limit).write(value, 0);
  check_limit(out, limit);
}

}  // namespace raptly::jinja
