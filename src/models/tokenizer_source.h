// Where a model's tokenizer comes from: GGUF metadata, or the files of an HF directory.
#pragma once

#include <optional>

#include "formats/checkpoint.h"
#include "raptly/tokenizer.h"

namespace raptly {

// From "tokenizer.ggml.*" and "tokenizer.chat_template". Throws kNotSupported for a
// tokenizer.ggml.model other than gpt2 (byte-level BPE), kCorruptFile for missing or inconsistent
// keys.
TokenizerSpec tokenizer_spec_from_gguf(const Metadata& metadata);

// Of any checkpoint; nullopt where it has none (a bare .safetensors file, a directory without
// tokenizer.json).
std::optional<TokenizerSpec> tokenizer_spec(const Checkpoint& checkpoint);

}  // namespace raptly
