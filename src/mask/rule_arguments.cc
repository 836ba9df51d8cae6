#include "mask/rule_arguments.h"

#include <utility>

#include "raptly/error.h"

namespace raptly::mask_detail {

void fail_at(std::size_t column, const std::string& message) {
  throw Error(ErrorCode::kInvalidArgument,
              "[mask] column " + std::to_string(column) + ": " + message);
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
    fail_at(column_, rule_ + " needs the argument " + std::string(name) + " (number " +
                         std::to_string(place + 1) + ").");
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

std::vector<std::int64_t> RuleArguments::integers(std::size_t place, std::string_view name) {
  RuleArgument& argument = require(place, name);
  auto* value = std::get_if<std::vector<std::int64_t>>(&argument.value);
  if (!value) fail_kind(argument, name, "a list of integers");
  return std::move(*value);
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

}  // namespace raptly::mask_detail
