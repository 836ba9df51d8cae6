#include "mask/rule_arguments.h"

#include <algorithm>
#include <utility>

#include "raptly/error.h"

namespace raptly::mask_detail {

void fail_at(std::size_t column, const std::string& message) {
  throw Error(ErrorCode::kInvalidArgument,
              "[mask] column " + std::to_string(column) + ": " + message);
}

int ArgumentList::depth() const {
  int deepest = 0;
  for (const ArgumentList& list : lists) deepest = std::max(deepest, list.depth());
  return 1 + deepest;
}

RuleArgument* RuleArguments::find(std::size_t place, std::string_view name) {
  RuleArgument* found = nullptr;
  for (std::size_t i = 0; i < arguments_.size(); ++i) {
    RuleArgument& argument = arguments_[i];
    if (argument.name.empty() ? i != place : argument.name != name) continue;
    if (found) fail_at(argument.column, rule_ + " is given " + std::string(name) + " twice.");
    found = &argument;
    found->read = true;
  }
  return found;
}

RuleArgument& RuleArguments::require(std::size_t place, std::string_view name) {
  RuleArgument* argument = find(place, name);
  if (!argument) {
    std::string given;
    for (const RuleArgument& other : arguments_) {
      if (!other.read && !other.name.empty())
        given += (given.empty() ? " Given: " : ", ") + other.name;
    }
    fail_at(column_, rule_ + " needs the argument " + std::string(name) + " (number " +
                         std::to_string(place + 1) + ")." + given + (given.empty() ? "" : "."));
  }
  return *argument;
}

void RuleArguments::fail_kind(const RuleArgument& argument, std::string_view name,
                              const char* wanted) const {
  constexpr const char* kKinds[] = {"None", "an integer", "a list", "a text"};
  fail_at(argument.column, rule_ + ": " + std::string(name) + " is " +
                               kKinds[argument.value.index()] + ". It must be " + wanted + ".");
}

std::int64_t RuleArguments::integer(std::size_t place, std::string_view name) {
  const RuleArgument& argument = require(place, name);
  if (const auto* value = std::get_if<std::int64_t>(&argument.value)) return *value;
  fail_kind(argument, name, "an integer");
}

std::optional<std::int64_t> RuleArguments::integer_or_none(std::size_t place,
                                                           std::string_view name) {
  const RuleArgument& argument = require(place, name);
  if (std::holds_alternative<None>(argument.value)) return std::nullopt;
  if (const auto* value = std::get_if<std::int64_t>(&argument.value)) return *value;
  fail_kind(argument, name, "an integer or None");
}

ArgumentList& RuleArguments::list(std::size_t place, std::string_view name, int depth,
                                  const char* wanted) {
  RuleArgument& argument = require(place, name);
  auto* value = std::get_if<ArgumentList>(&argument.value);
  if (!value || value->depth() > depth) fail_kind(argument, name, wanted);
  return *value;
}

std::vector<std::int64_t> RuleArguments::integers(std::size_t place, std::string_view name) {
  return std::move(list(place, name, 1, "a list of integers").integers);
}

std::vector<std::int64_t> RuleArguments::integer_or_integers(std::size_t place,
                                                             std::string_view name) {
  const RuleArgument& argument = require(place, name);
  if (const auto* value = std::get_if<std::int64_t>(&argument.value)) return {*value};
  return std::move(list(place, name, 1, "an integer or a list of integers").integers);
}

mask::PerBatch RuleArguments::per_batch(std::size_t place, std::string_view name) {
  ArgumentList& given = list(place, name, 2, "a list of integers, or one for each batch entry");
  if (given.lists.empty()) return mask::PerBatch(std::move(given.integers));
  BlockList rows;
  for (ArgumentList& row : given.lists) rows.push_back(std::move(row.integers));
  return mask::PerBatch(std::move(rows));
}

std::vector<BlockList> RuleArguments::block_lists(std::size_t place, std::string_view name) {
  constexpr const char* kWanted = "a list of lists of key blocks, or one for each head";
  ArgumentList& given = list(place, name, 3, kWanted);
  if (!given.integers.empty()) fail_kind(require(place, name), name, kWanted);
  const bool per_head = given.depth() == 3;
  std::vector<BlockList> heads(per_head ? given.lists.size() : 1);
  for (std::size_t h = 0; h < heads.size(); ++h) {
    ArgumentList& head = per_head ? given.lists[h] : given;
    if (!head.integers.empty()) fail_kind(require(place, name), name, kWanted);
    for (ArgumentList& row : head.lists) heads[h].push_back(std::move(row.integers));
  }
  return heads;
}

std::string RuleArguments::text(std::size_t place, std::string_view name) {
  RuleArgument& argument = require(place, name);
  auto* value = std::get_if<std::string>(&argument.value);
  if (!value) fail_kind(argument, name, "a text");
  return std::move(*value);
}

bool RuleArguments::has(std::size_t place, std::string_view name) {
  const RuleArgument* argument = find(place, name);
  return argument && !std::holds_alternative<None>(argument->value);
}

std::size_t RuleArguments::choice(std::size_t place, std::string_view name,
                                  std::initializer_list<const char*> words) {
  const RuleArgument* argument = find(place, name);
  if (!argument) return 0;
  std::string allowed;
  const auto* value = std::get_if<std::string>(&argument->value);
  for (std::size_t i = 0; i < words.size(); ++i) {
    const char* word = words.begin()[i];
    if (value && *value == word) return i;
    allowed += std::string(i == 0 ? "" : " or ") + '"' + word + '"';
  }
  if (!value) fail_kind(*argument, name, allowed.c_str());
  fail_at(argument->column,
          rule_ + ": " + std::string(name) + " is \"" + *value + "\". It must be " + allowed + ".");
}

void RuleArguments::check_all_read() const {
  for (const RuleArgument& argument : arguments_) {
    if (argument.read) continue;
    if (argument.name.empty())
      fail_at(argument.column, rule_ + " does not take so many arguments.");
    fail_at(argument.column, rule_ + " has no argument called " + argument.name + ".");
  }
}

std::string list_text(const std::vector<std::int64_t>& values) {
  std::string text = "[";
  for (const std::int64_t value : values) {
    if (text.size() > 1) text += ", ";
    text += std::to_string(value);
  }
  return text + "]";
}

std::string list_text(const BlockList& lists) {
  std::string text = "[";
  for (const std::vector<std::int64_t>& list : lists) {
    if (text.size() > 1) text += ", ";
    text += list_text(list);
  }
  return text + "]";
}

std::string list_text(const mask::PerBatch& lists) {
  return lists.is_shared() ? list_text(lists.rows().front()) : list_text(lists.rows());
}

}  // namespace raptly::mask_detail
