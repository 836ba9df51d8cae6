// The functions, filters, tests and methods that a template may use.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja_value.h"

namespace raptly::jinja {

bool is_function(std::string_view name);
bool is_filter(std::string_view name);
bool is_test(std::string_view name);
bool is_method(std::string_view name);
// What Python's str, dict and list have as attributes: `x.name` is a method, not the key "name".
bool has_method(const Value& value, std::string_view name);

// What a render may still spend. Throws ValueError when it is used up.
class Budget {
 public:
  static constexpr std::int64_t kMaxSteps = 1'000'000;
  static constexpr std::size_t kMaxText = std::size_t{1} << 20;  // of the output, and of each value

  void charge(std::int64_t steps);
  // A search for `needle`, whose time may grow with the product of the lengths.
  void charge_search(std::string_view text, std::string_view needle);
  // A text that an expression made.
  Value text(std::string s);
  // The same for a sequence.
  Value sequence(std::vector<Value> items, SequenceKind kind = SequenceKind::kList);
  // str(value)
  std::string str(const Value& value);

 private:
  std::int64_t steps_ = 0;
};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

// Arguments in the order of `names`; null where not given. Throws ValueError, naming `what`.
std::vector<const Value*> bind(const Arguments& arguments, std::string_view what,
                               const std::vector<std::string_view>& names, std::size_t required);

// All throw ValueError.
Value apply_filter(Budget& budget, std::string_view name, const Value& input,
                   const Arguments& arguments);
bool apply_test(Budget& budget, std::string_view name, const Value& input,
                const Arguments& arguments);
Value call_method(Budget& budget, const Value& object, std::string_view name,
                  const Arguments& arguments);

Value arithmetic_add(Budget& budget, const Value& a, const Value& b);
bool contains(Budget& budget, const Value& item, const Value& container);
// The items that a for loop or a filter walks over. Throws ValueError for what has none.
std::vector<Value> iterate(Budget& budget, const Value& value);
Value get_item(Budget& budget, const Value& object, const Value& key);
Value get_attribute(Budget& budget, const Value& object, std::string_view name);

}  // namespace raptly::jinja
