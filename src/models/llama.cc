#include "models/llama.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "attention/cache_window.h"
#include "kernels/rope/rope_frequencies.h"
#include "models/attention_layer.h"
#include "models/batch.h"
#include "models/embedding.h"
#include "models/llama_config.h"
#include "models/mlp.h"
#include "models/residual.h"
#include "models/tokenizer_source.h"
#include "models/weight_loader.h"
#include "models/weight_names.h"
#include "raptly/chat_template.h"
#include "raptly/error.h"
#include "raptly/tokenizer.h"

namespace raptly {
namespace {

struct LlamaLayer {
  AttentionLayer attention;
  MlpLayer mlp;
};

ForwardWidths forward_widths(const LlamaConfig& config) {
  const ModelConfig& m = config.model;
  const std::int64_t q = m.n_heads * m.head_dim, kv = m.n_kv_heads * m.head_dim;
  return {.d_model = m.d_model,
          .widest_input = std::max({m.d_model, q, m.d_ff}),
          .widest_output = std::max({q + 2 * kv, 2 * m.d_ff, m.d_model}),
          .rotary_pairs = config.rope.rotary_dim / 2};
}

class LlamaModel final : public Model {
 public:
  LlamaModel(LlamaConfig config, std::unique_ptr<Checkpoint> checkpoint);
  void load_weights(const LoadOptions& options, ExecutionContext& context);

  const ModelConfig& config() const override { return config_.model; }
  const Tokenizer& tokenizer() const override;
  const ChatTemplate* chat_template() const override;
  std::size_t weight_bytes() const override { return weights_.size(); }
  void forward(const Batch& batch, KvCache& cache, std::span<float> logits,
               ExecutionContext& context) override;

 private:
  void request_layer(WeightLoader& loader, const LlamaWeightNames& names, std::int64_t index);
  void read_rope_divisors();
  Mask mask_for(const CacheWindow& kept) const;
  void plan_attention(const KvCache& cache);
  void embed(const Batch& batch) noexcept;
  void run(const Batch& batch, std::span<float> logits) noexcept;

  LlamaConfig config_;
  std::unique_ptr<Checkpoint> checkpoint_;
  std::optional<Tokenizer> tokenizer_;
  std::optional<ChatTemplate> chat_template_;
  std::optional<Error> chat_template_error_;

  AlignedBytes weights_;  // of all packed matrices
  std::vector<LlamaLayer> layers_;
  std::vector<float> final_norm_;
  Linear head_;
  Embedding embedding_;

  RopeFrequencies frequencies_;
  AttentionSizes sizes_;
  Mask mask_;
  ForwardState state_;
  std::vector<double> embedding_scratch_;
};

LlamaModel::LlamaModel(LlamaConfig config, std::unique_ptr<Checkpoint> checkpoint)
    : config_(std::move(config)),
      checkpoint_(std::move(checkpoint)),
      state_(forward_widths(config_)) {
  const ModelConfig& m = config_.model;
  if (std::optional<TokenizerSpec> spec = tokenizer_spec(*checkpoint_)) {
    const std::string source = spec->chat_template;
    tokenizer_.emplace(std::move(*spec));
    try {
      if (!source.empty()) chat_template_.emplace(source);
    } catch (const Error& e) {
      chat_template_error_ =
          e;  // no reason not to run the model: told to who asks for the template
    }
  }
  read_rope_divisors();
  frequencies_ = rope_frequencies(config_.rope);
  sizes_ = {.n_heads = m.n_heads,
            .n_kv_heads = m.n_kv_heads,
            .head_dim = m.head_dim,
            .rotary_dim = config_.rope.rotary_dim,
            .norm_eps = m.norm_eps};
  mask_ = m.window == 0 ? mask::causal() : mask::causal() & mask::mistral(m.window);
}

const Tokenizer& LlamaModel::tokenizer() const {
  if (tokenizer_) return *tokenizer_;
  throw Error(ErrorCode::kNotFound,
              "[models] the model has no tokenizer (tokenizer.json or tokenizer.ggml.* keys).");
}

const ChatTemplate* LlamaModel::chat_template() const {
  if (chat_template_error_) throw *chat_template_error_;
  return chat_template_ ? &*chat_template_ : nullptr;
}

void LlamaModel::read_rope_divisors() {
  const CheckpointTensor* tensor = checkpoint_->find("rope_freqs.weight");
  if (tensor == nullptr || checkpoint_->format() != CheckpointFormat::kGguf) return;
  const std::int64_t pairs = config_.rope.rotary_dim / 2;
  if (tensor->shape != std::vector<std::int64_t>{pairs} || tensor->type != WeightType::kF32) {
    throw Error(ErrorCode::kCorruptFile,
                "[models] rope_freqs.weight must be F32 [" + std::to_string(pairs) + "].");
  }
  config_.rope.divisors.resize(static_cast<std::size_t>(pairs));
  dequantize(tensor->type, tensor->data.data(), pairs, config_.rope.divisors.data());
}

void LlamaModel::request_layer(WeightLoader& loader, const LlamaWeightNames& names,
                               std::int64_t index) {
  const ModelConfig& m = config_.model;
  const std::int64_t q = m.n_heads * m.head_dim, kv = m.n_kv_heads * m.head_dim;
  const std::int64_t interleaved = config_.interleaved_qk ? m.head_dim : 0;
  const auto name = [&](const char* pattern) { return layer_name(pattern, index); };
  LlamaLayer& layer = layers_[static_cast<std::size_t>(index)];
  layer.attention.norm = loader.vector(name(names.attention_norm), m.d_model);
  loader.linear(
      {{name(names.q), q, interleaved}, {name(names.k), kv, interleaved}, {name(names.v), kv, 0}},
      m.d_model, config_.needs_qkv_bias, &layer.attention.qkv);
  loader.linear({{name(names.o), m.d_model, 0}}, q, false, &layer.attention.o);
  layer.mlp.norm = loader.vector(name(names.mlp_norm), m.d_model);
  loader.linear({{name(names.gate), m.d_ff, 0}, {name(names.up), m.d_ff, 0}}, m.d_model, false,
                &layer.mlp.gate_up);
  loader.linear({{name(names.down), m.d_model, 0}}, m.d_ff, false, &layer.mlp.down);
}

void LlamaModel::load_weights(const LoadOptions& options, ExecutionContext& context) {
  const ModelConfig& m = config_.model;
  const LlamaWeightNames& names = llama_weight_names(checkpoint_->format());
  WeightLoader loader(*checkpoint_, options.exact);
  const bool tied = config_.tied_embeddings || !loader.has(names.head);
  if (m.n_layers > static_cast<std::int64_t>(checkpoint_->tensors().size())) {
    throw Error(ErrorCode::kCorruptFile, "[models] the model should have " +
                                             std::to_string(m.n_layers) + " layers, the file has " +
                                             std::to_string(checkpoint_->tensors().size()) +
                                             " tensors.");
  }
  layers_.resize(static_cast<std::size_t>(m.n_layers));
  for (std::int64_t i = 0; i < m.n_layers; ++i) request_layer(loader, names, i);
  final_norm_ = loader.vector(names.final_norm, m.d_model);
  loader.linear({{tied ? names.embedding : names.head, m.vocab_size, 0}}, m.d_model, false, &head_);
  if (tied) {
    loader.ignore(std::string(names.head) + ".weight");  // some files hold a second copy
  } else {
    embedding_ = Embedding::in_file(loader.matrix(names.embedding, m.vocab_size, m.d_model));
  }
  for (const CheckpointTensor& tensor : checkpoint_->tensors()) {
    if (is_ignored_weight(tensor.name)) loader.ignore(tensor.name);
  }
  loader.check_all_used();
  weights_ = loader.pack_all(context, options.progress);
  if (tied) embedding_ = Embedding::packed(head_.part(0).weights, m.d_model);
}

// A cache that keeps less than the model's window, or of a model without one, decides what is seen.
Mask LlamaModel::mask_for(const CacheWindow& kept) const {
  const std::int64_t window = config_.model.window;
  return window > 0 && kept.window >= window ? mask_ : within_cache_window(mask_, kept);
}

void LlamaModel::plan_attention(const KvCache& cache) {
  std::vector<SequenceGeometry> geometry;
  for (const BatchSequence& s : state_.sequences) {
    geometry.push_back({s.n_rows, s.first_ordinal + s.n_rows, s.first_ordinal});
  }
  const AttentionShape shape{.n_heads = sizes_.n_heads,
                             .n_kv_heads = sizes_.n_kv_heads,
                             .head_dim = sizes_.head_dim,
                             .v_dim = sizes_.head_dim,
                             .q_dtype = DType::kF32,
                             .kv_dtype = cache.shape().dtype,
                             .out_dtype = DType::kF32};
  AttentionOptions options;
  options.mask = mask_for(cache.window());
  state_.attention = std::make_unique<AttentionPlan>(shape, geometry, options, *state_.context,
                                                     &state_.attention_workspace);
  state_.tensors.resize(state_.sequences.size());
}

void LlamaModel::forward(const Batch& batch, KvCache& cache, std::span<float> logits,
                         ExecutionContext& context) {
  state_.sequences = check_batch(batch, config_.model, cache, logits.size());
  if (state_.sequences.empty()) return;
  state_.reserve(static_cast<std::int64_t>(batch.tokens.size()), context);
  embedding_scratch_.resize(embedding_.scratch_doubles() *
                            static_cast<std::size_t>(context.threads()));
  state_.positions.assign(batch.positions.begin(), batch.positions.end());
  for (const BatchSequence& s : state_.sequences) {
    for (std::int64_t i = 0; batch.positions.empty() && i < s.n_rows; ++i) {
      state_.positions.push_back(s.first_ordinal + i);
    }
  }
  state_.cache = &cache;
  plan_attention(cache);
  // Keys of given positions are not a function of the tokens: nobody may find them by those.
  const auto tokens = batch.positions.empty() ? batch.tokens : std::span<const std::int32_t>();
  cache.extend(batch.sequences, batch.lengths, tokens);  // the last thing that can throw
  run(batch, logits);
}

void LlamaModel::embed(const Batch& batch) noexcept {
  state_.pending = false;
  state_.pool().parallel_for(
      (state_.rows + kRowsPerItem - 1) / kRowsPerItem, [&](std::int64_t item, int worker) {
        double* scratch = embedding_scratch_.data() +
                          static_cast<std::size_t>(worker) * embedding_.scratch_doubles();
        const std::int64_t end = std::min((item + 1) * kRowsPerItem, state_.rows);
        for (std::int64_t r = item * kRowsPerItem; r < end; ++r) {
          const auto i = static_cast<std::size_t>(r);
          embedding_.row(batch.tokens[i], state_.residual_row(r), scratch);
          rope_table(frequencies_, {&state_.positions[i], 1}, state_.cos_row(r), state_.sin_row(r));
        }
      });
}

void LlamaModel::run(const Batch& batch, std::span<float> logits) noexcept {
  embed(batch);
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    attend(layers_[i].attention, sizes_, static_cast<std::int64_t>(i), state_);
    // Nothing reads the other rows of the last layer once its keys and values are stored.
    if (i + 1 == layers_.size()) keep_rows(batch.logit_rows, state_);
    if (state_.rows == 0) return;
    project_heads(layers_[i].attention, state_);
    mlp(layers_[i].mlp, config_.model.norm_eps, state_);
  }
  norm_residual(final_norm_, config_.model.norm_eps, head_.wants_int16(), state_);
  state_.run_linear(head_, logits.data(), config_.model.vocab_size);
}

}  // namespace

std::unique_ptr<Model> load_llama(std::unique_ptr<Checkpoint> checkpoint,
                                  const LoadOptions& options, ExecutionContext& context) {
  LlamaConfig config = checkpoint->format() == CheckpointFormat::kGguf
                           ? llama_config_from_gguf(checkpoint->metadata())
                           : llama_config_from_hf(checkpoint->metadata());
  auto model = std::make_unique<LlamaModel>(std::move(config), std::move(checkpoint));
  model->load_weights(options, context);
  return model;
}

}  // namespace raptly
