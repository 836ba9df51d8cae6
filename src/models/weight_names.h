// What the files call the weights of the Llama family: one table a source.
#pragma once

#include <cstdint>
#include <string>

#include "formats/checkpoint.h"

namespace raptly {

// Full names, or names of a layer where "{}" stands for its number; ".weight" and ".bias" follow.
struct LlamaWeightNames {
  const char* embedding;
  const char* final_norm;
  const char* head;
  const char* attention_norm;
  const char* q;
  const char* k;
  const char* v;
  const char* o;
  const char* mlp_norm;
  const char* gate;
  const char* up;
  const char* down;
};

const LlamaWeightNames& llama_weight_names(CheckpointFormat format);

// "blk.{}.attn_q", 3 -> "blk.3.attn_q".
std::string layer_name(const char* pattern, std::int64_t layer);

// Tensors that hold nothing which the configuration does not say (buffers of old HF checkpoints,
// frequency tables of GGUF files read elsewhere).
bool is_ignored_weight(const std::string& name);

}  // namespace raptly
