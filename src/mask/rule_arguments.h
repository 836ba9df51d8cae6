// The arguments of one rule in the text form: positional or named, each read once by the rule's
// parse function. Every error names the column of the argument.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace raptly::mask_detail {

struct None {};
struct RuleArgument {
  std::string name;  // empty: positional
  std::size_t column = 0;
  std::variant<None, std::int64_t, std::vector<std::int64_t>, std::string> value;
  bool read = false;
};

// Throws kInvalidArgument "[mask] column 8: message".
[[noreturn]] void fail_at(std::size_t column, const std::string& message);

class RuleArguments {
 public:
  RuleArguments(std::string rule, std::size_t column, std::vector<RuleArgument> arguments)
      : rule_(std::move(rule)), column_(column), arguments_(std::move(arguments)) {}

  // Each reads the argument at `place` (from 0) or called `name`, and throws when it is missing or
  // of another kind.
  std::int64_t integer(std::size_t place, std::string_view name);
  std::optional<std::int64_t> integer_or_none(std::size_t place, std::string_view name);
  std::vector<std::int64_t> integers(std::size_t place, std::string_view name);
  // The index of the given word among `words`; 0 when the argument is not given.
  std::size_t choice(std::size_t place, std::string_view name,
                     std::initializer_list<const char*> words);

  // Throws when an argument was given that the rule does not take.
  void check_all_read() const;

 private:
  RuleArgument* find(std::size_t place, std::string_view name);
  RuleArgument& require(std::size_t place, std::string_view name);
  [[noreturn]] void fail_kind(const RuleArgument& argument, std::string_view name,
                              const char* wanted) const;

  std::string rule_;
  std::size_t column_;
  std::vector<RuleArgument> arguments_;
};

}  // namespace raptly::mask_detail
