// The configuration of a Llama-family model, from GGUF metadata or from HF's config.json.
#pragma once

#include "formats/checkpoint.h"
#include "kernels/rope/rope_frequencies.h"
#include "raptly/model.h"

namespace raptly {

struct LlamaConfig {
  ModelConfig model;
  RopeOptions rope;
  // Rows of the q and k matrices stand in the order of interleaved RoPE (llama.cpp's conversion of
  // architecture "llama"); the loader puts them back into half order.
  bool interleaved_qk = false;
  bool tied_embeddings = false;  // the head is the embedding matrix
  bool needs_qkv_bias = false;   // Qwen2: the file must have them
};

// metadata: of a GGUF file ("llama.block_count") or of config.json ("num_hidden_layers").
// Throws kCorruptFile (a missing key, sizes that do not fit together), kNotSupported (an
// activation, scaling or window that the family has and raptly has not), each naming the key.
LlamaConfig llama_config_from_gguf(const Metadata& metadata);
LlamaConfig llama_config_from_hf(const Metadata& metadata);

}  // namespace raptly
