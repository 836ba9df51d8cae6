// `raptly inspect FILE`: what is in a GGUF or safetensors file, or in an HF directory.
#pragma once

#include <iosfwd>
#include <string>

namespace raptly {

// Metadata (long texts and lists shortened), then the tensors: name, type, shape, bytes, and totals
// by type. With json everything, lists of more than 32 elements as their length. Throws as
// open_checkpoint.
int inspect_command(const std::string& path, bool json, std::ostream& out);

}  // namespace raptly
