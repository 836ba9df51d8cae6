#include "text/byte_alphabet.h"

#include <array>
#include <cstdint>

#include "text/utf8.h"

namespace raptly {
namespace {

constexpr std::uint32_t kAlphabetEnd = 256 + 68;

struct Alphabet {
  std::array<std::uint16_t, 256> code_of{};
  std::array<std::int16_t, kAlphabetEnd> byte_of{};

  Alphabet() {
    byte_of.fill(-1);
    std::uint16_t next = 256;
    for (std::uint16_t byte = 0; byte < 256; ++byte) {
      const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
      code_of[byte] = printable ? byte : next++;
      byte_of[code_of[byte]] = static_cast<std::int16_t>(byte);
    }
  }
};

const Alphabet& alphabet() {
  static const Alphabet table;
  return table;
}

}  // namespace

std::optional<std::string> alphabet_to_bytes(std::string_view token) {
  std::string bytes;
  bytes.reserve(token.size());
  while (!token.empty()) {
    const Utf8Char c = next_utf8(token);
    if (!c.valid || c.code >= kAlphabetEnd || alphabet().byte_of[c.code] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(alphabet().byte_of[c.code]));
    token.remove_prefix(c.length);
  }
  return bytes;
}

std::string bytes_to_alphabet(std::string_view bytes) {
  std::string token;
  for (const char c : bytes) append_utf8(token, alphabet().code_of[static_cast<unsigned char>(c)]);
  return token;
}

}  // namespace raptly
