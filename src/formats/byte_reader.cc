#include "formats/byte_reader.h"

namespace raptly {
namespace {

struct LeadByte {
  int n_following = -1;      // -1: no character starts with this byte
  unsigned char low = 0x80;  // allowed range of the second byte
  unsigned char high = 0xBF;
};

LeadByte classify(unsigned char byte) noexcept {
  if (byte < 0x80) return {0};
  if (byte < 0xC2) return {};
  if (byte < 0xE0) return {1};
  if (byte == 0xE0) return {2, 0xA0};
  if (byte == 0xED) return {2, 0x80, 0x9F};
  if (byte < 0xF0) return {2};
  if (byte == 0xF0) return {3, 0x90};
  if (byte < 0xF4) return {3};
  if (byte == 0xF4) return {3, 0x80, 0x8F};
  return {};
}

}  // namespace

bool is_utf8(std::string_view text) noexcept {
  std::size_t i = 0;
  while (i < text.size()) {
    const LeadByte lead = classify(static_cast<unsigned char>(text[i++]));
    if (lead.n_following < 0) return false;
    for (int j = 0; j < lead.n_following; ++j, ++i) {
      if (i >= text.size()) return false;
      const auto byte = static_cast<unsigned char>(text[i]);
      const unsigned char low = j == 0 ? lead.low : 0x80;
      const unsigned char high = j == 0 ? lead.high : 0xBF;
      if (byte < low || byte > high) return false;
    }
  }
  return true;
}

}  // namespace raptly
