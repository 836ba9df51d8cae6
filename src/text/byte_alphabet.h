// GPT-2's byte alphabet: the 256 bytes as 256 printable characters, so that a vocabulary is text.
// Bytes 21..7E, A1..AC and AE..FF are the characters of the same number; the other 68, in order,
// are U+0100 and on (a space is U+0120). Source: Radford et al., 2019, bytes_to_unicode.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace raptly {

// The bytes that a token spells; nullopt if it holds a character that is not of the alphabet.
std::optional<std::string> alphabet_to_bytes(std::string_view token);
std::string bytes_to_alphabet(std::string_view bytes);

}  // namespace raptly
