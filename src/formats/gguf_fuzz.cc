// Any bytes as a GGUF file: an Error or contents, never anything else.
#include <cstdint>

#include "formats/gguf.h"
#include "raptly/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const raptly::GgufContents contents =
        raptly::parse_gguf({reinterpret_cast<const std::byte*>(data), size}, "fuzz");
    for (const raptly::CheckpointTensor& tensor : contents.tensors) {
      if (!tensor.data.empty() &&
          reinterpret_cast<const std::uint8_t*>(tensor.data.data()) + tensor.data.size() >
              data + size) {
        __builtin_trap();
      }
    }
  } catch (const raptly::Error&) {
  }
  return 0;
}
