#include "raptly/generate.h"

#include <algorithm>
#include <chrono>
#include <string>

#include "base/aligned.h"
#include "generate/sampler.h"
#include "generate/stop_strings.h"
#include "raptly/error.h"
#include "raptly/tokenizer.h"

namespace raptly {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Tokens that the sequence may hold: what its cache has room for, within the trained context. With
// a window in that context no two tokens that see each other are farther apart than in training,
// sinks aside: there is no end.
std::int64_t context_limit(const Model& model, const KvCache& cache, SequenceId sequence) {
  const std::int64_t trained = model.config().max_positions, room = cache.capacity(sequence);
  const std::int64_t window = cache.window().window;
  return trained == 0 || (window > 0 && window <= trained) ? room : std::min(trained, room);
}

void check(const Model& model, const KvCache& cache, SequenceId sequence,
           std::span<const std::int32_t> prompt, const GenerateOptions& options) {
  const auto reject = [](const std::string& what) {
    throw Error(ErrorCode::kInvalidArgument, "[generate] " + what);
  };
  if (prompt.empty()) reject("the prompt has no tokens. Give at least one.");
  if (options.max_tokens < 0) {
    reject("max_tokens is " + std::to_string(options.max_tokens) + ". It must be 0 or more.");
  }
  if (options.prefill_chunk < 1) {
    reject("prefill_chunk is " + std::to_string(options.prefill_chunk) +
           ". It must be at least 1.");
  }
  const std::int64_t limit = context_limit(model, cache, sequence);
  const std::int64_t used = cache.length(sequence);
  const auto n = static_cast<std::int64_t>(prompt.size());
  if (n <= limit - used) return;
  throw Error(ErrorCode::kContextFull,
              "[generate] the prompt has " + std::to_string(n) + " tokens, the context of " +
                  std::to_string(limit) + " has room for " +
                  std::to_string(std::max<std::int64_t>(limit - used, 0)) +
                  (used == 0 ? "" : " (" + std::to_string(used) + " are in use)") +
                  ". Give a shorter prompt or a larger context.");
}

// One generation under way.
class Generation {
 public:
  Generation(Model& model, KvCache& cache, SequenceId sequence, const GenerateOptions& options,
             ExecutionContext& context)
      : model_(model),
        cache_(cache),
        sequence_(sequence),
        options_(options),
        context_(context),
        sampler_(options.sampling, model.config().vocab_size, context.isa()),
        stops_(options.stop),
        before_(cache.length(sequence)),
        logits_(static_cast<std::size_t>(model.config().vocab_size)) {}

  GenerateResult run(std::span<const std::int32_t> prompt) {
    result_.prompt_tokens = static_cast<std::int64_t>(prompt.size());
    for (const std::int32_t token : prompt) sampler_.accept(token);
    Clock::time_point start = Clock::now();
    const bool ready = prefill(prompt);
    result_.prefill_seconds = seconds_since(start);
    start = Clock::now();
    result_.finish_reason = ready ? decode() : FinishReason::kInterrupted;
    if (!stops_.stopped()) {
      show(stops_.push(utf8_.finish()));
      show(stops_.finish());
    }
    if (stops_.stopped()) result_.finish_reason = FinishReason::kStop;
    if (ready) store_last();
    result_.decode_seconds = seconds_since(start);
    return std::move(result_);
  }

 private:
  bool interrupted() const {
    return options_.interrupt != nullptr && options_.interrupt->load(std::memory_order_relaxed);
  }

  void forward(std::span<const std::int32_t> tokens, bool want_logits) {
    const auto n = static_cast<std::int64_t>(tokens.size());
    const std::int64_t last = n - 1;
    const Batch batch{.tokens = tokens,
                      .sequences = {&sequence_, 1},
                      .lengths = {&n, 1},
                      .positions = {},
                      .logit_rows = {&last, want_logits ? std::size_t{1} : 0}};
    model_.forward(batch, cache_, want_logits ? logits_.span() : std::span<float>(), context_);
  }

  // False when interrupted.
  bool prefill(std::span<const std::int32_t> prompt) {
    const auto total = static_cast<std::int64_t>(prompt.size());
    for (std::int64_t done = 0; done < total;) {
      if (interrupted()) return false;
      const std::int64_t at_once = std::max<std::int64_t>(1, cache_.max_chunk(sequence_));
      const std::int64_t n = std::min({options_.prefill_chunk, at_once, total - done});
      forward(prompt.subspan(static_cast<std::size_t>(done), static_cast<std::size_t>(n)),
              done + n == total);
      done += n;
      if (options_.on_prefill) options_.on_prefill(done, total);
    }
    return true;
  }

  FinishReason decode() {
    const std::int64_t limit = context_limit(model_, cache_, sequence_);
    while (static_cast<std::int64_t>(result_.tokens.size()) < options_.max_tokens) {
      if (interrupted()) return FinishReason::kInterrupted;
      const std::int32_t token = sampler_.sample(logits_.span());
      if (model_.tokenizer().is_end(token)) return FinishReason::kStop;
      result_.tokens.push_back(token);
      sampler_.accept(token);
      show(stops_.push(utf8_.push(model_.tokenizer().token_bytes(token))));
      if (stops_.stopped()) return FinishReason::kStop;
      if (static_cast<std::int64_t>(result_.tokens.size()) == options_.max_tokens) break;
      if (cache_.length(sequence_) >= limit) return FinishReason::kContext;
      forward({&token, 1}, true);
    }
    return FinishReason::kLength;
  }

  // The last token was sampled but not yet read by the model: whoever goes on with the sequence
  // must find it there. Where the context is full there is nothing to go on with.
  void store_last() {
    const std::int64_t unread = expected_length() - cache_.length(sequence_);
    if (unread > 0 && cache_.length(sequence_) < context_limit(model_, cache_, sequence_)) {
      forward({&result_.tokens.back(), 1}, false);
    }
  }

  // Of the sequence, with all generated tokens in it.
  std::int64_t expected_length() const {
    return before_ + result_.prompt_tokens + static_cast<std::int64_t>(result_.tokens.size());
  }

  void show(const std::string& text) {
    if (text.empty()) return;
    result_.text += text;
    if (options_.on_text) options_.on_text(text);
  }

  Model& model_;
  KvCache& cache_;
  SequenceId sequence_;
  const GenerateOptions& options_;
  ExecutionContext& context_;
  Sampler sampler_;
  StopStrings stops_;
  Utf8Stream utf8_;
  std::int64_t before_;  // length of the sequence
  AlignedArray<float> logits_;
  GenerateResult result_;
};

}  // namespace

const char* finish_reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kContext:
      return "context";
    case FinishReason::kInterrupted:
      return "interrupted";
  }
  return "";
}

GenerateResult generate(Model& model, KvCache& cache, SequenceId sequence,
                        std::span<const std::int32_t> prompt, const GenerateOptions& options,
                        ExecutionContext& context) {
  check(model, cache, sequence, prompt, options);
  return Generation(model, cache, sequence, options, context).run(prompt);
}

GenerateResult generate(Model& model, KvCache& cache, SequenceId sequence, std::string_view prompt,
                        const GenerateOptions& options, ExecutionContext& context) {
  const std::vector<TokenId> tokens = model.tokenizer().encode(prompt, SpecialTokens::kText, true);
  return generate(model, cache, sequence, tokens, options, context);
}

}  // namespace raptly
