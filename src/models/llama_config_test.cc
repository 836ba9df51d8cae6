#include "models/llama_config.h"

#include <gtest/gtest.h>

#include "models/registry.h"
#include "models/weight_loader.h"
#include "models/weight_names.h"
#include "raptly/error.h"

namespace raptly {
namespace {

Metadata gguf() {
  Metadata m;
  m.set("general.architecture", std::string("llama"));
  m.set("general.name", std::string("tiny"));
  for (const auto& [key, value] :
       std::initializer_list<std::pair<const char*, std::uint64_t>>{{"block_count", 3},
                                                                    {"embedding_length", 64},
                                                                    {"feed_forward_length", 128},
                                                                    {"attention.head_count", 4},
                                                                    {"attention.head_count_kv", 2},
                                                                    {"context_length", 512},
                                                                    {"vocab_size", 100}}) {
    m.set(std::string("llama.") + key, value);
  }
  m.set("llama.attention.layer_norm_rms_epsilon", 1e-6);
  return m;
}

Metadata hf() {
  Metadata m;
  m.set("model_type", std::string("mistral"));
  for (const auto& [key, value] :
       std::initializer_list<std::pair<const char*, std::int64_t>>{{"num_hidden_layers", 3},
                                                                   {"hidden_size", 64},
                                                                   {"intermediate_size", 128},
                                                                   {"num_attention_heads", 4},
                                                                   {"num_key_value_heads", 2},
                                                                   {"max_position_embeddings", 512},
                                                                   {"vocab_size", 100}}) {
    m.set(key, value);
  }
  m.set("rms_norm_eps", 1e-6);
  return m;
}

template <class F>
void expect_error(F&& f, ErrorCode code, const std::string& part) {
  try {
    f();
    FAIL() << "accepted: " << part;
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), code) << e.what();
    EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
  }
}

TEST(LlamaConfig, FromGguf) {
  const LlamaConfig c = llama_config_from_gguf(gguf());
  EXPECT_EQ(c.model.architecture, "llama");
  EXPECT_EQ(c.model.name, "tiny");
  EXPECT_EQ(c.model.n_layers, 3);
  EXPECT_EQ(c.model.d_ff, 128);
  EXPECT_EQ(c.model.head_dim, 16);
  EXPECT_EQ(c.model.window, 0);
  EXPECT_EQ(c.rope.rotary_dim, 16);
  EXPECT_EQ(c.rope.theta, 10000);
  EXPECT_TRUE(c.interleaved_qk);
  EXPECT_FALSE(c.needs_qkv_bias);
}

TEST(LlamaConfig, GgufVariants) {
  Metadata m = gguf();
  m.set("llama.attention.key_length", std::uint64_t{24});
  m.set("llama.attention.value_length", std::uint64_t{24});
  m.set("llama.rope.dimension_count", std::uint64_t{24});
  m.set("llama.rope.scaling.type", std::string("yarn"));
  m.set("llama.rope.scaling.factor", 4.0);
  m.set("llama.rope.scaling.original_context_length", std::uint64_t{128});
  m.set("llama.attention.sliding_window", std::uint64_t{77});
  const LlamaConfig c = llama_config_from_gguf(m);
  EXPECT_EQ(c.model.head_dim, 24);
  EXPECT_EQ(c.model.window, 77);
  EXPECT_EQ(c.rope.scaling.kind, RopeScalingKind::kYarn);
  EXPECT_EQ(c.rope.scaling.factor, 4);
  EXPECT_EQ(c.rope.scaling.original_max_positions, 128);
}

TEST(LlamaConfig, FromHfOldAndNewRopeKeys) {
  Metadata m = hf();
  m.set("rope_theta", 50000.0);
  m.set("sliding_window", std::int64_t{32});
  LlamaConfig c = llama_config_from_hf(m);
  EXPECT_EQ(c.rope.theta, 50000);
  EXPECT_EQ(c.model.window, 32);
  EXPECT_FALSE(c.interleaved_qk);
  m.set("rope_scaling.type", std::string("linear"));
  m.set("rope_scaling.factor", 2.0);
  c = llama_config_from_hf(m);
  EXPECT_EQ(c.rope.scaling.kind, RopeScalingKind::kLinear);
  EXPECT_EQ(c.rope.theta, 50000);
  m.set("rope_parameters.rope_type", std::string("llama3"));
  m.set("rope_parameters.rope_theta", 7.0);
  m.set("rope_parameters.factor", 8.0);
  m.set("rope_parameters.low_freq_factor", 1.0);
  m.set("rope_parameters.high_freq_factor", 4.0);
  m.set("rope_parameters.original_max_position_embeddings", std::int64_t{256});
  c = llama_config_from_hf(m);
  EXPECT_EQ(c.rope.scaling.kind, RopeScalingKind::kLlama3);
  EXPECT_EQ(c.rope.theta, 7);
  EXPECT_EQ(c.rope.scaling.original_max_positions, 256);
}

TEST(LlamaConfig, Refusals) {
  const auto gguf_with = [](const char* key, MetaValue value) {
    Metadata m = gguf();
    m.set(key, std::move(value));
    return [m] { llama_config_from_gguf(m); };
  };
  expect_error(gguf_with("llama.block_count", std::uint64_t{0}), ErrorCode::kCorruptFile,
               "layers is 0");
  expect_error(gguf_with("llama.attention.head_count", std::uint64_t{0}), ErrorCode::kCorruptFile,
               "n_heads is 0");
  expect_error(gguf_with("llama.attention.head_count_kv", std::uint64_t{3}),
               ErrorCode::kCorruptFile, "n_kv_heads is 3");
  expect_error(gguf_with("llama.embedding_length", std::uint64_t{1} << 40), ErrorCode::kCorruptFile,
               "d_model is 1099511627776");
  expect_error(gguf_with("llama.attention.key_length", std::uint64_t{15}), ErrorCode::kNotSupported,
               "head_dim is 15");
  expect_error(gguf_with("llama.attention.value_length", std::uint64_t{8}),
               ErrorCode::kNotSupported, "value_length");
  expect_error(gguf_with("llama.rope.dimension_count", std::uint64_t{32}), ErrorCode::kCorruptFile,
               "rotary_dim is 32");
  expect_error(gguf_with("llama.rope.dimension_count", std::uint64_t{(1 << 24) + 8}),
               ErrorCode::kCorruptFile, "rotary_dim is");
  expect_error(gguf_with("llama.attention.sliding_window", std::int64_t{-1}),
               ErrorCode::kCorruptFile, "window is -1");
  expect_error(gguf_with("llama.rope.scaling.type", std::string("longrope")),
               ErrorCode::kNotSupported, "'longrope'");
  expect_error(gguf_with("llama.expert_count", std::uint64_t{8}), ErrorCode::kNotSupported,
               "expert_count");
  expect_error(gguf_with("llama.rope.freq_base", -1.0), ErrorCode::kCorruptFile, "theta is -1");
  const auto hf_with = [](const char* key, MetaValue value) {
    Metadata m = hf();
    m.set(key, std::move(value));
    return [m] { llama_config_from_hf(m); };
  };
  expect_error(hf_with("hidden_act", std::string("gelu")), ErrorCode::kNotSupported, "'gelu'");
  expect_error(hf_with("rope_scaling.rope_type", std::string("dynamic")), ErrorCode::kNotSupported,
               "'dynamic'");
  expect_error(hf_with("partial_rotary_factor", 1.5), ErrorCode::kCorruptFile,
               "partial_rotary_factor");
  Metadata qwen = hf();
  qwen.set("model_type", std::string("qwen2"));
  qwen.set("use_sliding_window", true);
  expect_error([&] { llama_config_from_hf(qwen); }, ErrorCode::kNotSupported, "use_sliding_window");
  Metadata empty;
  empty.set("general.architecture", std::string("llama"));
  expect_error([&] { llama_config_from_gguf(empty); }, ErrorCode::kCorruptFile,
               "llama.block_count");
}

TEST(Registry, UnknownArchitectureNamesTheKnown) {
  expect_error([] { find_model_factory("mamba"); }, ErrorCode::kNotSupported,
               "'mamba' is not supported. Known are llama, mistral, qwen2");
  EXPECT_NE(find_model_factory("qwen2"), nullptr);
}

TEST(WeightNames, Layers) {
  const LlamaWeightNames& names = llama_weight_names(CheckpointFormat::kHfDirectory);
  EXPECT_EQ(layer_name(names.q, 12), "model.layers.12.self_attn.q_proj");
  EXPECT_EQ(layer_name(llama_weight_names(CheckpointFormat::kGguf).down, 0), "blk.0.ffn_down");
}

// A checkpoint in memory.
class FakeCheckpoint final : public Checkpoint {
 public:
  CheckpointFormat format() const override { return CheckpointFormat::kHfDirectory; }
  const Metadata& metadata() const override { return metadata_; }
  std::span<const CheckpointTensor> tensors() const override { return tensors_; }
  std::size_t file_bytes() const override { return 0; }
  std::string directory() const override { return ""; }
  void release(const CheckpointTensor&) const noexcept override {}
  void add(const std::string& name, std::vector<std::int64_t> shape) {
    std::size_t n = 1;
    for (const std::int64_t s : shape) n *= static_cast<std::size_t>(s);
    std::vector<float> values(n);
    for (std::size_t i = 0; i < n; ++i) values[i] = static_cast<float>(i);
    values_.push_back(std::move(values));
    tensors_.push_back(
        {name, WeightType::kF32, std::move(shape), std::as_bytes(std::span(values_.back()))});
  }

 private:
  Metadata metadata_;
  std::vector<std::vector<float>> values_;
  std::vector<CheckpointTensor> tensors_;
};

TEST(WeightLoader, NamesWhatIsMissingWrongOrUnknown) {
  FakeCheckpoint file;
  file.add("a.weight", {20, 40});
  file.add("norm.weight", {40});
  file.add("extra.weight", {3});
  WeightLoader loader(file, true);
  expect_error([&] { loader.vector("other", 40); }, ErrorCode::kCorruptFile, "other.weight");
  expect_error([&] { loader.vector("norm", 41); }, ErrorCode::kCorruptFile, "norm.weight is [40]");
  Linear linear;
  expect_error([&] { loader.linear({{"a", 20, 0}}, 41, false, &linear); }, ErrorCode::kCorruptFile,
               "asks for [20, 41]");
  expect_error([&] { loader.linear({{"a", 20, 0}}, 40, true, &linear); }, ErrorCode::kCorruptFile,
               "a.bias");
  loader.vector("norm", 40);
  loader.linear({{"a", 20, 0}}, 40, false, &linear);
  expect_error([&] { loader.check_all_used(); }, ErrorCode::kNotSupported, "extra.weight");
}

// Two matrices of odd heights and one bias, against plain loops.
TEST(WeightLoader, StacksMatricesOfOddSizes) {
  FakeCheckpoint file;
  file.add("a.weight", {20, 40});
  file.add("b.weight", {7, 40});
  file.add("b.bias", {7});
  WeightLoader loader(file, false);
  Linear linear;
  loader.linear({{"a", 20, 4}, {"b", 7, 0}}, 40, false, &linear);
  ExecutionContext context(2);
  const AlignedBytes memory = loader.pack_all(context, {});
  EXPECT_EQ(linear.n_out(), 27);
  LinearInput input;
  input.reserve(2, 40);
  for (std::int64_t i = 0; i < 40; ++i) {
    input.row(0)[i] = static_cast<float>(i % 5) - 2;
    input.row(1)[i] = static_cast<float>(i % 3);
  }
  input.finish_rows(0, 2, linear.wants_int16(), context.isa());
  std::vector<float> y(2 * 30, 42);
  MatmulScratch scratch;
  linear.run(input, {2, 0, linear.n_panels(), y.data(), 30}, scratch, context.isa());
  for (std::int64_t r = 0; r < 2; ++r) {
    for (std::int64_t o = 0; o < 27; ++o) {
      const bool second = o >= 20;
      const std::int64_t row = second ? o - 20 : interleaved_source_row(o, 4);
      double want = second ? static_cast<double>(o - 20) : 0;
      for (std::int64_t i = 0; i < 40; ++i)
        want += static_cast<double>(input.row(r)[i]) * static_cast<double>(row * 40 + i);
      EXPECT_FLOAT_EQ(y[static_cast<std::size_t>(r * 30 + o)], static_cast<float>(want))
          << r << " " << o;
    }
    EXPECT_EQ(y[static_cast<std::size_t>(r * 30 + 27)], 42);
  }
}

TEST(WeightLoader, InterleavedRows) {
  const std::vector<std::int64_t> want = {0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11};
  for (std::size_t i = 0; i < want.size(); ++i) {
    EXPECT_EQ(interleaved_source_row(static_cast<std::int64_t>(i), 6), want[i]);
  }
}

}  // namespace
}  // namespace raptly
