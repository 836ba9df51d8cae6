#include "models/weight_names.h"

#include <string_view>

namespace raptly {

const LlamaWeightNames& llama_weight_names(CheckpointFormat format) {
  static constexpr LlamaWeightNames kGguf = {
      .embedding = "token_embd",
      .final_norm = "output_norm",
      .head = "output",
      .attention_norm = "blk.{}.attn_norm",
      .q = "blk.{}.attn_q",
      .k = "blk.{}.attn_k",
      .v = "blk.{}.attn_v",
      .o = "blk.{}.attn_output",
      .mlp_norm = "blk.{}.ffn_norm",
      .gate = "blk.{}.ffn_gate",
      .up = "blk.{}.ffn_up",
      .down = "blk.{}.ffn_down",
  };
  static constexpr LlamaWeightNames kHf = {
      .embedding = "model.embed_tokens",
      .final_norm = "model.norm",
      .head = "lm_head",
      .attention_norm = "model.layers.{}.input_layernorm",
      .q = "model.layers.{}.self_attn.q_proj",
      .k = "model.layers.{}.self_attn.k_proj",
      .v = "model.layers.{}.self_attn.v_proj",
      .o = "model.layers.{}.self_attn.o_proj",
      .mlp_norm = "model.layers.{}.post_attention_layernorm",
      .gate = "model.layers.{}.mlp.gate_proj",
      .up = "model.layers.{}.mlp.up_proj",
      .down = "model.layers.{}.mlp.down_proj",
  };
  return format == CheckpointFormat::kGguf ? kGguf : kHf;
}

std::string layer_name(const char* pattern, std::int64_t layer) {
  std::string name = pattern;
  return name.replace(name.find("{}"), 2, std::to_string(layer));
}

bool is_ignored_weight(const std::string& name) {
  const std::string_view n = name;
  return n.ends_with("rotary_emb.inv_freq") || n == "rope_freqs.weight" ||
         n.ends_with(".attn_rot_embd.weight");
}

}  // namespace raptly
