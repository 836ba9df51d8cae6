#include "formats/json_reader.h"

#include <set>
#include <string>
#include <vector>

namespace raptly {
namespace {

using nlohmann::json;

constexpr int kMaxNesting = 64;

// Sees every key once, in order; remembers those of the objects that are open.
class KeyWatch {
 public:
  KeyWatch(const FileErrors& errors, std::uint64_t base) : errors_(errors), base_(base) {}

  bool operator()(int depth, json::parse_event_t event, json& value) {
    if (depth > kMaxNesting) errors_.corrupt(base_, "JSON is nested more than 64 deep.");
    if (event == json::parse_event_t::object_start) {
      keys_.emplace_back();
    } else if (event == json::parse_event_t::object_end) {
      keys_.pop_back();
    } else if (event == json::parse_event_t::key &&
               !keys_.back().insert(value.get<std::string>()).second) {
      errors_.corrupt(base_, "key " + value.get<std::string>() + " stands twice in one object.");
    }
    return true;
  }

 private:
  const FileErrors& errors_;
  std::uint64_t base_;
  std::vector<std::set<std::string>> keys_;
};

MetaValue scalar(const json& value) {
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number_unsigned()) return value.get<std::uint64_t>();
  if (value.is_number_integer()) return value.get<std::int64_t>();
  if (value.is_number()) return value.get<double>();
  if (value.is_string()) return value.get<std::string>();
  return std::monostate{};
}

template <class T, class Is>
bool try_list(const json& list, Is is, MetaValue& out) {
  std::vector<T> values;
  for (const json& element : list) {
    if (!(element.*is)()) return false;
    values.push_back(element.get<T>());
  }
  out = std::move(values);
  return true;
}

void flatten(const json& value, const std::string& prefix, Metadata& out) {
  if (value.is_object()) {
    for (const auto& [key, member] : value.items()) {
      flatten(member, prefix.empty() ? key : prefix + "." + key, out);
    }
  } else if (value.is_array()) {
    MetaValue list;
    if (value.empty()) return;
    if (try_list<std::string>(value, &json::is_string, list) ||
        try_list<bool>(value, &json::is_boolean, list) ||
        try_list<std::uint64_t>(value, &json::is_number_unsigned, list) ||
        try_list<std::int64_t>(value, &json::is_number_integer, list) ||
        try_list<double>(value, &json::is_number, list)) {
      out.set(prefix, std::move(list));
    }
  } else {
    out.set(prefix, scalar(value));
  }
}

}  // namespace

json parse_json(std::string_view text, const FileErrors& errors, std::uint64_t base) {
  if (!is_utf8(text)) errors.corrupt(base, "JSON is not UTF-8.");
  KeyWatch watch(errors, base);
  try {
    return json::parse(text, [&](int depth, json::parse_event_t event, json& value) {
      return watch(depth, event, value);
    });
  } catch (const json::parse_error& error) {
    errors.corrupt(base + error.byte, "JSON is broken here.");
  } catch (const json::out_of_range& error) {  // 1e999; the library's text names the number
    errors.corrupt(base, std::string("JSON holds a number beyond double: ") + error.what());
  }
}

Metadata flatten_json(const json& object) {
  Metadata out;
  flatten(object, "", out);
  return out;
}

}  // namespace raptly
