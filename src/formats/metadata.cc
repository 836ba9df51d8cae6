#include <cmath>
#include <utility>

#include "formats/checkpoint.h"
#include "raptly/error.h"

namespace raptly {
namespace {

[[noreturn]] void wrong(std::string_view key, const std::string& message) {
  throw Error(ErrorCode::kCorruptFile, "[metadata] " + std::string(key) + " " + message);
}

const char* kind_name(const MetaValue& value) {
  static constexpr const char* kNames[] = {"null",
                                           "a boolean",
                                           "an integer",
                                           "an integer",
                                           "a number",
                                           "a text",
                                           "a list of booleans",
                                           "a list of integers",
                                           "a list of integers",
                                           "a list of numbers",
                                           "a list of texts"};
  return kNames[value.index()];
}

const MetaValue& get(const std::map<std::string, MetaValue, std::less<>>& values,
                     std::string_view key) {
  const auto found = values.find(key);
  if (found == values.end() || std::holds_alternative<std::monostate>(found->second)) {
    wrong(key, "is missing.");
  }
  return found->second;
}

template <class T>
const T& as(const std::map<std::string, MetaValue, std::less<>>& values, std::string_view key,
            const char* wanted) {
  const MetaValue& value = get(values, key);
  if (const T* typed = std::get_if<T>(&value)) return *typed;
  wrong(key, "is " + std::string(kind_name(value)) + ". It must be " + wanted + ".");
}

std::int64_t signed_of(std::string_view key, std::uint64_t value) {
  if (value > static_cast<std::uint64_t>(INT64_MAX)) wrong(key, "does not fit 63 bits.");
  return static_cast<std::int64_t>(value);
}
std::int64_t whole_of(std::string_view key, double value) {
  if (!(std::fabs(value) < 0x1p53) || value != std::floor(value)) wrong(key, "is not an integer.");
  return static_cast<std::int64_t>(value);
}

}  // namespace

void Metadata::set(std::string key, MetaValue value) {
  values_.insert_or_assign(std::move(key), std::move(value));
}

bool Metadata::has(std::string_view key) const {
  const auto found = values_.find(key);
  return found != values_.end() && !std::holds_alternative<std::monostate>(found->second);
}

std::int64_t Metadata::integer(std::string_view key) const {
  const MetaValue& value = get(values_, key);
  if (const auto* i = std::get_if<std::int64_t>(&value)) return *i;
  if (const auto* u = std::get_if<std::uint64_t>(&value)) return signed_of(key, *u);
  if (const auto* d = std::get_if<double>(&value)) return whole_of(key, *d);
  wrong(key, "is " + std::string(kind_name(value)) + ". It must be an integer.");
}

double Metadata::number(std::string_view key) const {
  const MetaValue& value = get(values_, key);
  if (const auto* d = std::get_if<double>(&value)) return *d;
  if (const auto* i = std::get_if<std::int64_t>(&value)) return static_cast<double>(*i);
  if (const auto* u = std::get_if<std::uint64_t>(&value)) return static_cast<double>(*u);
  wrong(key, "is " + std::string(kind_name(value)) + ". It must be a number.");
}

const std::string& Metadata::text(std::string_view key) const {
  return as<std::string>(values_, key, "a text");
}
bool Metadata::boolean(std::string_view key) const { return as<bool>(values_, key, "a boolean"); }

std::int64_t Metadata::integer_or(std::string_view key, std::int64_t otherwise) const {
  return has(key) ? integer(key) : otherwise;
}
double Metadata::number_or(std::string_view key, double otherwise) const {
  return has(key) ? number(key) : otherwise;
}
std::string Metadata::text_or(std::string_view key, std::string otherwise) const {
  return has(key) ? text(key) : otherwise;
}
bool Metadata::boolean_or(std::string_view key, bool otherwise) const {
  return has(key) ? boolean(key) : otherwise;
}

const std::vector<std::string>& Metadata::texts(std::string_view key) const {
  return as<std::vector<std::string>>(values_, key, "a list of texts");
}

std::vector<std::int64_t> Metadata::integers(std::string_view key) const {
  const MetaValue& value = get(values_, key);
  std::vector<std::int64_t> out;
  if (const auto* i = std::get_if<std::vector<std::int64_t>>(&value)) return *i;
  if (const auto* u = std::get_if<std::vector<std::uint64_t>>(&value)) {
    for (const std::uint64_t x : *u) out.push_back(signed_of(key, x));
    return out;
  }
  if (const auto* d = std::get_if<std::vector<double>>(&value)) {
    for (const double x : *d) out.push_back(whole_of(key, x));
    return out;
  }
  wrong(key, "is " + std::string(kind_name(value)) + ". It must be a list of integers.");
}

std::vector<double> Metadata::numbers(std::string_view key) const {
  const MetaValue& value = get(values_, key);
  if (const auto* d = std::get_if<std::vector<double>>(&value)) return *d;
  std::vector<double> out;
  for (const std::int64_t x : integers(key)) out.push_back(static_cast<double>(x));
  return out;
}

const CheckpointTensor* Checkpoint::find(std::string_view name) const {
  for (const CheckpointTensor& tensor : tensors()) {
    if (tensor.name == name) return &tensor;
  }
  return nullptr;
}

const CheckpointTensor& Checkpoint::get(std::string_view name) const {
  if (const CheckpointTensor* tensor = find(name)) return *tensor;
  throw Error(ErrorCode::kCorruptFile, "[checkpoint] tensor " + std::string(name) + " is missing.");
}

}  // namespace raptly
