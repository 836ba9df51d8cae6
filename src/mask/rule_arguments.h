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

#include "raptly/mask.h"

namespace raptly::mask_detail {

struct None {};

// [1, 2] or [[1], [2, 3]]: all integers or all lists. An empty list is of both kinds.
struct ArgumentList {
  std::vector<std::int64_t> integers;
  std::vector<ArgumentList> lists;

  int depth() const;  // of the deepest list: 1 for [] and [1, 2]
};
constexpr int kMaxListDepth = 3;  // head, query block, key block

struct RuleArgument {
  std::string name;  // empty: positional
  std::size_t column = 0;
  std::variant<None, std::int64_t, ArgumentList, std::string> value;
  bool read = false;
};

// Throws kInvalidArgument "[mask] column 8: message".
[[noreturn]] void fail_at(std::size_t column, const std::string& message);

using BlockList = std::vector<std::vector<std::int64_t>>;

class RuleArguments {
 public:
  RuleArguments(std::string rule, std::size_t column, std::vector<RuleArgument> arguments)
      : rule_(std::move(rule)), column_(column), arguments_(std::move(arguments)) {}

  // Each reads the argument at `place` (from 0) or called `name`, and throws when it is missing or
  // of another kind.
  std::int64_t integer(std::size_t place, std::string_view name);
  std::optional<std::int64_t> integer_or_none(std::size_t place, std::string_view name);
  std::vector<std::int64_t> integers(std::size_t place, std::string_view name);
  // [1, 2], or 1 for [1].
  std::vector<std::int64_t> integer_or_integers(std::size_t place, std::string_view name);
  mask::PerBatch per_batch(std::size_t place, std::string_view name);
  // One entry for [[1], [2]], one entry a head for [[[1], [2]], [[1], []]].
  std::vector<BlockList> block_lists(std::size_t place, std::string_view name);
  std::string text(std::size_t place, std::string_view name);
  // The index of the given word among `words`; 0 when the argument is not given.
  std::size_t choice(std::size_t place, std::string_view name,
                     std::initializer_list<const char*> words);
  // Whether an optional argument is given; None counts as not given.
  bool has(std::size_t place, std::string_view name);

  // Throws when an argument was given that the rule does not take.
  void check_all_read() const;

 private:
  RuleArgument* find(std::size_t place, std::string_view name);
  RuleArgument& require(std::size_t place, std::string_view name);
  ArgumentList& list(std::size_t place, std::string_view name, int depth, const char* wanted);
  [[noreturn]] void fail_kind(const RuleArgument& argument, std::string_view name,
                              const char* wanted) const;

  std::string rule_;
  std::size_t column_;
  std::vector<RuleArgument> arguments_;
};

// The text that parses back: [1, 2], [[1], [2, 3]].
std::string list_text(const std::vector<std::int64_t>& values);
std::string list_text(const BlockList& lists);
std::string list_text(const mask::PerBatch& lists);

}  // namespace raptly::mask_detail
