// Any bytes as a safetensors file: an Error or contents, never anything else.
#include <cstdint>

#include "formats/safetensors.h"
#include "raptly/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    raptly::parse_safetensors({reinterpret_cast<const std::byte*>(data), size}, "fuzz");
  } catch (const raptly::Error&) {
  }
  return 0;
}
