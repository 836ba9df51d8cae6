// From a prompt to words: sampling and the generation loop.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "raptly/model.h"

namespace raptly {

struct SamplingOptions {
  float temperature = 0;     // 0: greedy (ties: the lowest id)
  std::int64_t top_k = 0;    // 0: off
  float top_p = 1;           // 1: off
  float min_p = 0;           // 0: off; relative to the most likely token
  float repeat_penalty = 1;  // 1: off; divides positive, multiplies negative logits of seen tokens
  std::uint64_t seed = 0;
};

enum class FinishReason { kStop, kLength, kContext, kInterrupted };
const char* finish_reason_name(FinishReason reason);  // "stop", "length", "context", "interrupted"

struct GenerateOptions {
  SamplingOptions sampling = {};
  std::int64_t max_tokens = 256;
  std::vector<std::string> stop = {};  // the text ends before the first of these; never shown
  std::int64_t prefill_chunk = 512;    // less where the cache takes less at once
  std::function<void(std::string_view text)> on_text = {};  // whole characters, as they come
  std::function<void(std::int64_t done, std::int64_t total)> on_prefill = {};
  const std::atomic<bool>* interrupt = nullptr;  // polled before each token
};

struct GenerateResult {
  std::string text;
  // All generated ids, those too whose text a stop string cut; the end token is not among them.
  std::vector<std::int32_t> tokens;
  std::int64_t prompt_tokens = 0;
  FinishReason finish_reason = FinishReason::kStop;
  double prefill_seconds = 0;
  double decode_seconds = 0;
};

// Goes on with `sequence` of the cache: prompt first, then token by token. Afterwards the sequence
// holds what it held, the prompt and all of GenerateResult::tokens, so that another call goes on
// from there; only where the context is full (kContext) the last token found no room. An interrupt
// during the prompt leaves the chunks that were read. max_tokens = 0 reads the prompt and generates
// nothing (kLength). Throws kContextFull when the prompt does not fit (nothing is appended),
// kInvalidArgument for options out of range; what on_text or on_prefill throws passes through, and
// the sequence then holds what the model had read: truncate it to its former length to try again.
// The context ends where the cache or the model's trained context does; with a rolling cache whose
// window lies within that context, never.
GenerateResult generate(Model& model, KvCache& cache, SequenceId sequence,
                        std::span<const std::int32_t> prompt, const GenerateOptions& options,
                        ExecutionContext& context = default_context());
// The same for a prompt as text, tokenised as the model wants it (with its BOS token if it has
// one).
GenerateResult generate(Model& model, KvCache& cache, SequenceId sequence, std::string_view prompt,
                        const GenerateOptions& options,
                        ExecutionContext& context = default_context());

}  // namespace raptly
