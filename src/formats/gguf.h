// GGUF versions 2 and 3: header, metadata, tensor infos, aligned tensor data (little-endian).
//
//   "GGUF" | u32 version | u64 n_tensors | u64 n_metadata
//   n_metadata x { string key | u32 kind | value }           string = u64 length, bytes
//   n_tensors  x { string name | u32 n_dims | u64 dims[n_dims], innermost first | u32 type | u64
//   offset } padding to the alignment (general.alignment, 32 unless given) | data, offsets from
//   here
// Source: the GGUF specification of the ggml project.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "formats/checkpoint.h"
#include "formats/mapped_file.h"

namespace raptly {

struct GgufContents {
  Metadata metadata;
  std::vector<CheckpointTensor> tensors;  // data points into the parsed bytes
};

// Parses a whole file. `file` names it in errors. Throws kCorruptFile with the byte offset,
// kNotSupported for a version, tensor type or byte order that raptly does not read. Counts and
// lengths are checked against the bytes that are left before anything is allocated for them.
GgufContents parse_gguf(std::span<const std::byte> bytes, std::string_view file);

std::unique_ptr<Checkpoint> open_gguf(MappedFile file);

}  // namespace raptly
