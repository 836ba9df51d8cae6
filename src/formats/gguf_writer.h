// Writes GGUF v3: for tests and tools.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "formats/checkpoint.h"

namespace raptly {

// A file with this metadata (integers as u64 or i64, numbers as f64, general.alignment as u32) and
// these tensors, in order, aligned to 32 bytes or to general.alignment. Throws kInvalidArgument
// when a tensor's data does not have the bytes of its shape and type.
std::vector<std::byte> write_gguf(const Metadata& metadata,
                                  std::span<const CheckpointTensor> tensors);

}  // namespace raptly
