// Base64 (RFC 4648, with padding), for dense masks in text.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace raptly::mask_detail {

std::string base64(std::span<const std::uint8_t> bytes);
// Throws kInvalidArgument for anything but whole, padded base64 without spaces.
std::vector<std::uint8_t> from_base64(std::string_view text);

}  // namespace raptly::mask_detail
