#include "models/llama_config.h"

#include <algorithm>
#include <string>

#include "raptly/error.h"

namespace raptly {
namespace {

constexpr std::int64_t kMaxSize = std::int64_t{1} << 24;  // keeps every product below 2^63

void check_size(const char* what, std::int64_t value) {
  if (value >= 1 && value <= kMaxSize) return;
  throw Error(ErrorCode::kCorruptFile, "[models] " + std::string(what) + " is " +
                                           std::to_string(value) + ". Allowed are 1 .. " +
                                           std::to_string(kMaxSize) + ".");
}

void check(const LlamaConfig& config) {
  const ModelConfig& m = config.model;
  check_size("vocab_size", m.vocab_size);
  check_size("the number of layers", m.n_layers);
  check_size("d_model", m.d_model);
  check_size("d_ff", m.d_ff);
  check_size("n_heads", m.n_heads);
  check_size("n_kv_heads", m.n_kv_heads);
  check_size("max_positions", m.max_positions);
  if (m.head_dim < 2 || m.head_dim > 1024 || m.head_dim % 2 != 0) {
    throw Error(ErrorCode::kNotSupported, "[models] head_dim is " + std::to_string(m.head_dim) +
                                              ". Allowed are even numbers from 2 to 1024.");
  }
  if (m.n_heads % m.n_kv_heads != 0) {
    throw Error(ErrorCode::kCorruptFile, "[models] n_heads is " + std::to_string(m.n_heads) +
                                             ", n_kv_heads is " + std::to_string(m.n_kv_heads) +
                                             ". The first must be a multiple of the second.");
  }
  if (!(m.norm_eps >= 0 && m.norm_eps < 1)) {
    throw Error(
        ErrorCode::kCorruptFile,
        "[models] the norm's epsilon is " + std::to_string(m.norm_eps) + ". It must be in [0, 1).");
  }
  if (config.rope.rotary_dim > m.head_dim) {
    throw Error(ErrorCode::kCorruptFile,
                "[models] rotary_dim is " + std::to_string(config.rope.rotary_dim) +
                    ", head_dim is " + std::to_string(m.head_dim) + ". It cannot be larger.");
  }
  if (m.window < 0) {
    throw Error(ErrorCode::kCorruptFile, "[models] the window is " + std::to_string(m.window) +
                                             ". It must be 0 (none) or more.");
  }
  try {
    rope_frequencies(config.rope);  // its own checks, of what a file says
  } catch (const Error& error) {
    throw Error(ErrorCode::kCorruptFile, std::string("[models] ") + error.what());
  }
}

std::int64_t divide(std::int64_t a, std::int64_t b) { return b == 0 ? 0 : a / b; }

[[noreturn]] void reject_scaling(const std::string& kind) {
  throw Error(ErrorCode::kNotSupported,
              "[models] RoPE scaling '" + kind +
                  "' is not supported. Supported are none, linear, llama3 "
                  "and yarn.");
}

RopeScaling gguf_scaling(const Metadata& metadata, const std::string& prefix,
                         std::int64_t max_positions) {
  RopeScaling s;
  const std::string kind = metadata.text_or(prefix + "rope.scaling.type", "none");
  if (kind == "linear") {
    s.kind = RopeScalingKind::kLinear;
  } else if (kind == "yarn") {
    s.kind = RopeScalingKind::kYarn;
  } else if (kind != "none") {
    reject_scaling(kind);
  }
  s.factor = metadata.number_or(prefix + "rope.scaling.factor", 1);
  s.original_max_positions = static_cast<double>(
      metadata.integer_or(prefix + "rope.scaling.original_context_length", max_positions));
  s.beta_fast = metadata.number_or(prefix + "rope.scaling.yarn_beta_fast", s.beta_fast);
  s.beta_slow = metadata.number_or(prefix + "rope.scaling.yarn_beta_slow", s.beta_slow);
  return s;
}

// transformers 5 writes rope_parameters, older versions rope_scaling with rope_theta beside it.
RopeScaling hf_scaling(const Metadata& metadata, const std::string& prefix,
                       std::int64_t max_positions) {
  RopeScaling s;
  const std::string kind =
      metadata.text_or(prefix + "rope_type", metadata.text_or(prefix + "type", "default"));
  if (kind == "linear") {
    s.kind = RopeScalingKind::kLinear;
  } else if (kind == "llama3") {
    s.kind = RopeScalingKind::kLlama3;
  } else if (kind == "yarn") {
    s.kind = RopeScalingKind::kYarn;
  } else if (kind != "default") {
    reject_scaling(kind);
  }
  if (s.kind == RopeScalingKind::kNone) return s;
  s.original_max_positions = static_cast<double>(
      metadata.integer_or(prefix + "original_max_position_embeddings",
                          metadata.integer_or("original_max_position_embeddings", max_positions)));
  s.factor = metadata.has(prefix + "factor") || s.kind != RopeScalingKind::kYarn
                 ? metadata.number(prefix + "factor")
                 : static_cast<double>(max_positions) / s.original_max_positions;
  if (s.kind == RopeScalingKind::kLlama3) {
    s.low_freq_factor = metadata.number(prefix + "low_freq_factor");
    s.high_freq_factor = metadata.number(prefix + "high_freq_factor");
  }
  s.beta_fast = metadata.number_or(prefix + "beta_fast", s.beta_fast);
  s.beta_slow = metadata.number_or(prefix + "beta_slow", s.beta_slow);
  s.truncate = metadata.boolean_or(prefix + "truncate", true);
  const auto optional = [&](const char* key) {
    return metadata.has(prefix + key) ? std::optional<double>(metadata.number(prefix + key))
                                      : std::nullopt;
  };
  s.attention_factor = optional("attention_factor");
  s.mscale = optional("mscale");
  s.mscale_all_dim = optional("mscale_all_dim");
  return s;
}

std::int64_t hf_window(const Metadata& metadata, const std::string& architecture) {
  const std::int64_t window = metadata.integer_or("sliding_window", 0);
  if (architecture != "qwen2") return architecture == "mistral" ? window : 0;
  if (!metadata.boolean_or("use_sliding_window", false)) return 0;
  throw Error(ErrorCode::kNotSupported,
              "[models] use_sliding_window is true (a window in some layers of Qwen2 only). "
              "Supported is false.");
}

}  // namespace

LlamaConfig llama_config_from_gguf(const Metadata& metadata) {
  LlamaConfig config;
  ModelConfig& m = config.model;
  m.architecture = metadata.text("general.architecture");
  m.name = metadata.text_or("general.name", "");
  const std::string prefix = m.architecture + ".";
  m.n_layers = metadata.integer(prefix + "block_count");
  m.d_model = metadata.integer(prefix + "embedding_length");
  m.d_ff = metadata.integer(prefix + "feed_forward_length");
  m.n_heads = metadata.integer(prefix + "attention.head_count");
  m.n_kv_heads = metadata.integer_or(prefix + "attention.head_count_kv", m.n_heads);
  m.head_dim = metadata.integer_or(prefix + "attention.key_length", divide(m.d_model, m.n_heads));
  m.max_positions = metadata.integer(prefix + "context_length");
  m.norm_eps = metadata.number(prefix + "attention.layer_norm_rms_epsilon");
  m.window = metadata.integer_or(prefix + "attention.sliding_window", 0);
  m.vocab_size = metadata.has(prefix + "vocab_size")
                     ? metadata.integer(prefix + "vocab_size")
                     : static_cast<std::int64_t>(metadata.texts("tokenizer.ggml.tokens").size());
  if (metadata.integer_or(prefix + "attention.value_length", m.head_dim) != m.head_dim) {
    throw Error(ErrorCode::kNotSupported, "[models] " + prefix +
                                              "attention.value_length differs from key_length. "
                                              "The Llama family has them equal.");
  }
  if (metadata.integer_or(prefix + "expert_count", 0) != 0) {
    throw Error(ErrorCode::kNotSupported,
                "[models] " + prefix + "expert_count is not 0. Experts are not supported.");
  }
  config.rope.rotary_dim = static_cast<int>(std::clamp<std::int64_t>(
      metadata.integer_or(prefix + "rope.dimension_count", m.head_dim), -1, kMaxSize));
  config.rope.theta = metadata.number_or(prefix + "rope.freq_base", 10000);
  config.rope.scaling = gguf_scaling(metadata, prefix, m.max_positions);
  config.interleaved_qk = m.architecture == "llama";
  config.needs_qkv_bias = m.architecture == "qwen2";
  check(config);
  return config;
}

LlamaConfig llama_config_from_hf(const Metadata& metadata) {
  LlamaConfig config;
  ModelConfig& m = config.model;
  m.architecture = metadata.text("model_type");
  m.name = metadata.text_or("_name_or_path", "");
  m.vocab_size = metadata.integer("vocab_size");
  m.n_layers = metadata.integer("num_hidden_layers");
  m.d_model = metadata.integer("hidden_size");
  m.d_ff = metadata.integer("intermediate_size");
  m.n_heads = metadata.integer("num_attention_heads");
  m.n_kv_heads = metadata.integer_or("num_key_value_heads", m.n_heads);
  m.head_dim = metadata.integer_or("head_dim", divide(m.d_model, m.n_heads));
  m.max_positions = metadata.integer("max_position_embeddings");
  m.norm_eps = metadata.number("rms_norm_eps");
  m.window = hf_window(metadata, m.architecture);
  const std::string activation = metadata.text_or("hidden_act", "silu");
  if (activation != "silu") {
    throw Error(ErrorCode::kNotSupported,
                "[models] hidden_act is '" + activation + "'. The Llama family uses 'silu'.");
  }
  const bool parameters =
      metadata.has("rope_parameters.rope_type") || metadata.has("rope_parameters.rope_theta");
  const std::string prefix = parameters ? "rope_parameters." : "rope_scaling.";
  config.rope.theta =
      metadata.number_or(prefix + "rope_theta", metadata.number_or("rope_theta", 10000));
  const double share = metadata.number_or(prefix + "partial_rotary_factor",
                                          metadata.number_or("partial_rotary_factor", 1));
  if (!(share > 0 && share <= 1)) {
    throw Error(ErrorCode::kCorruptFile, "[models] partial_rotary_factor is " +
                                             std::to_string(share) + ". It must be in (0, 1].");
  }
  config.rope.rotary_dim = static_cast<int>(static_cast<double>(m.head_dim % kMaxSize) * share);
  config.rope.scaling = hf_scaling(metadata, prefix, m.max_positions);
  config.tied_embeddings = metadata.boolean_or("tie_word_embeddings", false);
  config.needs_qkv_bias = m.architecture == "qwen2";
  check(config);
  return config;
}

}  // namespace raptly
