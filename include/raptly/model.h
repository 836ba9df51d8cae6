// A language model read from a file, ready to run.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "raptly/cache.h"
#include "raptly/execution.h"

namespace raptly {

class Tokenizer;     // raptly/tokenizer.h
class ChatTemplate;  // raptly/chat_template.h

struct ModelConfig {
  std::string architecture;  // "llama", "mistral", "qwen2"
  std::string name;          // as the file calls it; may be empty
  std::int64_t vocab_size = 0;
  std::int64_t n_layers = 0;
  std::int64_t d_model = 0;
  std::int64_t d_ff = 0;
  std::int64_t n_heads = 0;
  std::int64_t n_kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t max_positions = 0;  // trained context
  double norm_eps = 1e-5;
  std::int64_t window = 0;  // Mistral's sliding window, counting the query itself; 0: none
};

struct LoadOptions {
  bool exact = false;                              // f32 activations everywhere
  std::function<void(double done)> progress = {};  // called with 0 .. 1
};

// A ragged batch: lengths[i] new tokens of sequences[i], one after the other in `tokens`.
struct Batch {
  std::span<const std::int32_t> tokens;           // [total]
  std::span<const SequenceId> sequences;          // [n]
  std::span<const std::int64_t> lengths;          // [n], sum = total
  std::span<const std::int64_t> positions = {};   // [total]; empty: on from the cache's length
  std::span<const std::int64_t> logit_rows = {};  // rows that want logits, ascending
};

class Model {
 public:
  virtual ~Model() = default;
  virtual const ModelConfig& config() const = 0;
  virtual const Tokenizer& tokenizer() const = 0;  // kNotFound: the file has none
  // Null: the file has none. Throws what parsing it threw (a model runs without its template).
  virtual const ChatTemplate* chat_template() const = 0;
  virtual std::size_t weight_bytes() const = 0;  // repacked weights held

  // Appends the batch to the cache (each sequence at most once, and no more tokens than
  // max_chunk(); given positions turn RoPE only, the mask goes by the order of the tokens) and
  // writes logits [logit_rows, vocab_size] f32. A cache that keeps less than the model's window
  // decides what is seen. All or nothing: when it throws (kContextFull, kInvalidArgument) the cache
  // is as it was.
  virtual void forward(const Batch& batch, KvCache& cache, std::span<float> logits,
                       ExecutionContext& context = default_context()) = 0;
  CacheShape cache_shape(DType dtype) const;
};

// Throws kNotFound, kIo, kCorruptFile, kNotSupported (an unknown architecture, naming it and the
// known).
std::unique_ptr<Model> load_model(const std::string& path, const LoadOptions& options = {},
                                  ExecutionContext& context = default_context());

}  // namespace raptly
