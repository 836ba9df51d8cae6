// JSON from files nobody vouches for: bounded depth and size, errors that name the place.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace raptly {

inline constexpr std::size_t kMaxJsonBytes = std::size_t{1} << 28;
inline constexpr std::size_t kMaxJsonDepth = 64;

// `what` names the file in messages. kCorruptFile: not JSON (with the byte offset), deeper than
// kMaxJsonDepth, longer than kMaxJsonBytes, or a key twice in one object.
nlohmann::json parse_json(std::string_view text, const std::string& what);

}  // namespace raptly
