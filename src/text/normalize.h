// Unicode normalisation form C.
#pragma once

#include <string>
#include <string_view>

namespace raptly {

// False only if NFC could change `text`; a quick look at the lead bytes.
bool surely_nfc(std::string_view text) noexcept;

// NFC of `text`; bytes that are not UTF-8 stay as they are (and no character composes across them).
// Time is linear but for sorting runs of combining marks. kInvalidArgument: more than 2^28
// characters.
std::string to_nfc(std::string_view text);

}  // namespace raptly
