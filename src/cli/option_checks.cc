#include "cli/option_checks.h"

#include <charconv>
#include <cstdio>
#include <limits>
#include <string>
#include <system_error>

namespace raptly {
namespace {

template <class T>
std::string check_whole(const std::string& given, T low, T high) {
  T value = 0;
  const char* end = given.data() + given.size();
  const auto read = std::from_chars(given.data(), end, value);
  const bool digits =
      given.find_first_not_of("0123456789", given.starts_with('-') ? 1 : 0) == std::string::npos &&
      !given.empty() && given != "-";
  if (!digits) return "'" + given + "' is not a whole number";
  if (read.ec == std::errc() && read.ptr == end && value >= low && value <= high) return "";
  return given + " is out of range. It may be " + std::to_string(low) + " to " +
         std::to_string(high);
}

std::string short_number(double x) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", x);
  return text;
}

}  // namespace

CLI::Validator whole_number(std::int64_t low, std::int64_t high) {
  return {[=](std::string& given) { return check_whole(given, low, high); },
          "INT in [" + std::to_string(low) + " - " + std::to_string(high) + "]"};
}

CLI::Validator seed_number() {
  return {[](std::string& given) {
            return check_whole<std::uint64_t>(given, 0, std::numeric_limits<std::uint64_t>::max());
          },
          "INT in [0 - 2^64)"};
}

CLI::Validator real_number(double low, double high, LowEnd low_end) {
  const bool open = low_end == LowEnd::kExcluded;
  const std::string range = short_number(low) + " to " + short_number(high);
  return {[=](std::string& given) -> std::string {
            double value = 0;
            const char* end = given.data() + given.size();
            const auto read = std::from_chars(given.data(), end, value);
            if (read.ec == std::errc::invalid_argument || read.ptr != end || value != value) {
              return "'" + given + "' is not a number";
            }
            const bool fits = (open ? value > low : value >= low) && value <= high;
            if (read.ec == std::errc() && fits) return "";
            return given + " is out of range. It may be " + range +
                   (open ? ", without " + short_number(low) : "");
          },
          "FLOAT in " + std::string(open ? "(" : "[") + short_number(low) + " - " +
              short_number(high) + "]"};
}

}  // namespace raptly
