// safetensors: u64 header length | JSON header | tensor data (little-endian).
//   {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, "__metadata__":
//   {...}}
// Offsets count from the end of the header; tensors cover the data without gaps or overlaps.
// Source: the safetensors format description of Hugging Face.
#pragma once

#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "formats/checkpoint.h"
#include "formats/mapped_file.h"

namespace raptly {

struct SafetensorsContents {
  Metadata metadata;                      // of "__metadata__"
  std::vector<CheckpointTensor> tensors;  // F32, F16, BF16
  std::vector<std::string> skipped;  // names of tensors of other dtypes ("I64", "F8_E4M3", ...)
};

// Throws kCorruptFile with the byte offset.
SafetensorsContents parse_safetensors(std::span<const std::byte> bytes, std::string_view file);

std::unique_ptr<Checkpoint> open_safetensors(MappedFile file);

}  // namespace raptly
