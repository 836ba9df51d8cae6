// Checks of numbers on the command line. Each says what was wrong: no number at all, or out of
// range, with the range.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>

namespace raptly {

// low .. high, in decimal
CLI::Validator whole_number(std::int64_t low, std::int64_t high);
// All that 64 bits hold, without a sign: what would wrap around is refused.
CLI::Validator seed_number();

enum class LowEnd { kAllowed, kExcluded };
// low .. high; never NaN.
CLI::Validator real_number(double low, double high, LowEnd low_end = LowEnd::kAllowed);

}  // namespace raptly
