// The generation loop on the tiny quantised model, and on a model that says what the test wants.
#include "raptly/generate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "generate/perplexity.h"
#include "raptly/error.h"
#include "raptly/tokenizer.h"

namespace raptly {
namespace {

std::string testdata(const std::string& name) {
  return std::string(RAPTLY_SOURCE_DIR) + "/src/models/testdata/" + name;
}

// Says `script` token by token whatever the prompt; logits depend on the number of tokens stored.
class ScriptedModel final : public Model {
 public:
  explicit ScriptedModel(const Tokenizer& tokenizer, std::vector<std::int32_t> script,
                         std::int64_t prompt)
      : tokenizer_(tokenizer), script_(std::move(script)), prompt_(prompt) {
    config_.vocab_size = tokenizer.vocab_size();
    config_.n_layers = config_.n_kv_heads = config_.n_heads = 1;
    config_.head_dim = 2;
  }
  const ModelConfig& config() const override { return config_; }
  const Tokenizer& tokenizer() const override { return tokenizer_; }
  const ChatTemplate* chat_template() const override { return nullptr; }
  std::size_t weight_bytes() const override { return 0; }
  void forward(const Batch& batch, KvCache& cache, std::span<float> logits,
               ExecutionContext&) override {
    chunks.push_back(batch.lengths[0]);
    cache.extend(batch.sequences, batch.lengths);
    std::fill(logits.begin(), logits.end(), 0.0f);
    const auto at = static_cast<std::size_t>(cache.length(batch.sequences[0]) - prompt_);
    if (!logits.empty() && at < script_.size()) logits[static_cast<std::size_t>(script_[at])] = 1;
  }
  std::vector<std::int64_t> chunks;

 private:
  ModelConfig config_;
  const Tokenizer& tokenizer_;
  std::vector<std::int32_t> script_;
  std::int64_t prompt_;
};

class Generate : public testing::Test {
 protected:
  Generate() : real_(load_model(testdata("quantized.gguf"))) {}

  const Tokenizer& tokenizer() const { return real_->tokenizer(); }
  // The model's answer `text` (then its end token) to a prompt of 5 tokens.
  GenerateResult say(const std::string& text, GenerateOptions options,
                     std::int64_t capacity = 100) {
    std::vector<std::int32_t> script = tokenizer().encode(text);
    script.push_back(*tokenizer().spec().eos);
    model_ = std::make_unique<ScriptedModel>(tokenizer(), script, 5);
    ContiguousCache cache(model_->cache_shape(DType::kF32), capacity);
    const std::vector<std::int32_t> prompt = {1, 2, 3, 4, 5};
    shown_.clear();
    options.on_text = [this](std::string_view t) { shown_.emplace_back(t); };
    return generate(*model_, cache, cache.add_sequence(), prompt, options);
  }

  std::unique_ptr<Model> real_;
  std::unique_ptr<ScriptedModel> model_;
  std::vector<std::string> shown_;
};

TEST_F(Generate, StopsAtTheEndToken) {
  const GenerateResult r = say("the hill", {});
  EXPECT_EQ(r.text, "the hill");
  EXPECT_EQ(r.finish_reason, FinishReason::kStop);
  EXPECT_EQ(r.tokens, tokenizer().encode("the hill"));
  EXPECT_EQ(r.prompt_tokens, 5);
  EXPECT_EQ(std::accumulate(shown_.begin(), shown_.end(), std::string()), r.text);
}

TEST_F(Generate, LengthAndZero) {
  const GenerateResult r = say("abcdef", {.max_tokens = 3});
  EXPECT_EQ(r.text, "abc");
  EXPECT_EQ(r.finish_reason, FinishReason::kLength);
  EXPECT_EQ(say("abc", {.max_tokens = 0}).text, "");
}

// What a sequence holds is what its tokens say, however the generation ended: the model reads on
// and says the same as after one prompt of all those tokens.
TEST_F(Generate, ASecondCallSeesEveryToken) {
  const std::vector<std::int32_t> prompt = {5, 80, 33}, more = {7, 8};
  const GenerateOptions eight{.sampling = {.temperature = 1, .seed = 4}, .max_tokens = 8};
  GenerateOptions stopped = eight;
  {
    ContiguousCache cache(real_->cache_shape(DType::kF32), 64);
    const GenerateResult whole = generate(*real_, cache, cache.add_sequence(), prompt, eight);
    ASSERT_EQ(whole.tokens.size(), 8u);
    stopped.stop = {whole.text.substr(0, 1)};
  }
  for (const GenerateOptions& options : {eight, stopped}) {
    ContiguousCache cache(real_->cache_shape(DType::kF32), 64);
    const SequenceId sequence = cache.add_sequence();
    std::vector<std::int32_t> all = prompt;
    const GenerateResult first = generate(*real_, cache, sequence, prompt, options);
    ASSERT_FALSE(first.tokens.empty());
    all.insert(all.end(), first.tokens.begin(), first.tokens.end());
    EXPECT_EQ(cache.length(sequence), static_cast<std::int64_t>(all.size()));
    const GenerateResult second = generate(*real_, cache, sequence, more, {.max_tokens = 5});
    all.insert(all.end(), more.begin(), more.end());
    ContiguousCache fresh(real_->cache_shape(DType::kF32), 64);
    const GenerateResult at_once =
        generate(*real_, fresh, fresh.add_sequence(), all, {.max_tokens = 5});
    EXPECT_EQ(second.tokens, at_once.tokens);
  }
}

// Prompts longer than the cache takes at once, and texts longer than the trained context of 256.
TEST_F(Generate, ARollingCacheHasNoEnd) {
  std::vector<std::int32_t> prompt(300);
  std::iota(prompt.begin(), prompt.end(), 1);
  for (std::int32_t& token : prompt) token %= 100;
  const GenerateOptions options{.sampling = {.temperature = 1, .seed = 4}, .max_tokens = 300};
  std::vector<GenerateResult> results;
  for (const std::int64_t slack : {0, 9, 200}) {
    RollingCache cache(real_->cache_shape(DType::kF32),
                       {.window = 40, .slack = slack, .n_sinks = 4});
    const SequenceId sequence = cache.add_sequence();
    const std::size_t bytes = cache.nbytes();
    results.push_back(generate(*real_, cache, sequence, prompt, options));
    const auto n = static_cast<std::int64_t>(results.back().tokens.size());
    EXPECT_EQ(cache.length(sequence), 300 + n);
    EXPECT_EQ(cache.nbytes(), bytes);
    EXPECT_EQ(results.back().tokens, results.front().tokens) << slack;
  }
  EXPECT_NE(results.front().finish_reason, FinishReason::kContext);
  // A window beyond the trained context is no reason to leave that.
  RollingCache wide(real_->cache_shape(DType::kF32), {.window = 400});
  EXPECT_THROW(generate(*real_, wide, wide.add_sequence(), prompt, options), Error);
}

TEST_F(Generate, ZeroTokensReadThePrompt) {
  ContiguousCache cache(real_->cache_shape(DType::kF32), 8);
  const SequenceId sequence = cache.add_sequence();
  const std::vector<std::int32_t> prompt = {5, 80, 33};
  const GenerateResult r = generate(*real_, cache, sequence, prompt, {.max_tokens = 0});
  EXPECT_EQ(r.finish_reason, FinishReason::kLength);
  EXPECT_TRUE(r.tokens.empty());
  EXPECT_EQ(cache.length(sequence), 3);
}

TEST_F(Generate, WhatOnTextThrowsPassesThrough) {
  ContiguousCache cache(real_->cache_shape(DType::kF32), 64);
  const SequenceId sequence = cache.add_sequence();
  const std::vector<std::int32_t> prompt = {5, 80, 33};
  GenerateOptions options{.sampling = {.temperature = 1, .seed = 4}, .max_tokens = 20};
  struct Gone {};
  options.on_text = [](std::string_view) { throw Gone(); };
  EXPECT_THROW(generate(*real_, cache, sequence, prompt, options), Gone);
  EXPECT_GE(cache.length(sequence), 3);
  cache.truncate(sequence, 0);
  options.on_text = {};
  EXPECT_EQ(generate(*real_, cache, sequence, prompt, options).tokens.size(), 20u);
}

TEST_F(Generate, PrefillInChunks) {
  std::vector<std::int64_t> progress;
  say("a", {.prefill_chunk = 2, .on_prefill = [&](std::int64_t done, std::int64_t total) {
              progress.push_back(done);
              EXPECT_EQ(total, 5);
            }});
  EXPECT_EQ(progress, (std::vector<std::int64_t>{2, 4, 5}));
  EXPECT_EQ(model_->chunks, (std::vector<std::int64_t>{2, 2, 1, 1}));
}

TEST_F(Generate, StopStringsEndTheText) {
  const GenerateResult r = say("one two three", {.stop = {" thr", "zzz"}});
  EXPECT_EQ(r.text, "one two");
  EXPECT_EQ(r.finish_reason, FinishReason::kStop);
  for (const std::string& t : shown_) EXPECT_EQ(t.find(" thr"), std::string::npos);
  EXPECT_EQ(say("one two th", {.stop = {" thr"}}).text, "one two th")
      << "held back text comes at the end";
}

TEST_F(Generate, WholeCharactersOnly) {
  const GenerateResult r = say("\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80", {});
  EXPECT_EQ(r.text, "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80");
  for (const std::string& t : shown_)
    EXPECT_TRUE(t == "\xC3\xA9" || t == "\xE2\x82\xAC" || t == "\xF0\x9F\x98\x80") << t;
  // Cut inside the euro sign: what never was complete shows as U+FFFD.
  EXPECT_EQ(say("\xC3\xA9\xE2\x82\xAC", {.max_tokens = 3}).text, "\xC3\xA9\xEF\xBF\xBD");
}

TEST_F(Generate, ContextFull) {
  GenerateResult r = say("abcdefgh", {}, 8);
  EXPECT_EQ(r.finish_reason, FinishReason::kContext);
  EXPECT_EQ(r.text, "abcd") << "three fit beside the prompt, and one more needs no room";
  try {
    say("a", {}, 4);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kContextFull);
    EXPECT_NE(std::string(e.what()).find("5 tokens, the context of 4"), std::string::npos)
        << e.what();
  }
}

TEST_F(Generate, Interrupt) {
  std::atomic<bool> stop = false;
  GenerateOptions options;
  options.interrupt = &stop;
  options.on_prefill = [&](std::int64_t, std::int64_t) { stop = true; };
  GenerateResult r = say("abc", options);
  EXPECT_EQ(r.finish_reason, FinishReason::kInterrupted);
  EXPECT_EQ(r.text, "");
  r = say("abc", options);  // already set: not even a prefill
  EXPECT_EQ(r.finish_reason, FinishReason::kInterrupted);
  EXPECT_TRUE(model_->chunks.empty());
}

TEST_F(Generate, SaysWhatIsWrong) {
  EXPECT_THROW(say("a", {.max_tokens = -1}), Error);
  EXPECT_THROW(say("a", {.prefill_chunk = 0}), Error);
  EXPECT_THROW(say("a", {.stop = {""}}), Error);
  ContiguousCache cache(real_->cache_shape(DType::kF32), 8);
  EXPECT_THROW(generate(*real_, cache, cache.add_sequence(), std::vector<std::int32_t>(), {}),
               Error);
}

TEST_F(Generate, ChunksAndThreadsDoNotMatter) {
  std::vector<std::int32_t> prompt(60);
  std::iota(prompt.begin(), prompt.end(), 10);
  std::vector<std::int32_t> first;
  for (const int threads : {1, 2}) {
    for (const std::int64_t chunk : {1, 7, 512}) {
      ExecutionContext context(threads);
      ContiguousCache cache(real_->cache_shape(DType::kF16), 128);
      const GenerateResult r = generate(
          *real_, cache, cache.add_sequence(), prompt,
          {.sampling = {.temperature = 1, .seed = 3}, .max_tokens = 30, .prefill_chunk = chunk},
          context);
      EXPECT_FALSE(r.tokens.empty());
      if (first.empty()) first = r.tokens;
      EXPECT_EQ(r.tokens, first) << threads << " threads, chunk " << chunk;
    }
  }
}

// Against the definition, computed from all logits of each window.
TEST_F(Generate, PerplexityOfWindows) {
  std::vector<std::int32_t> tokens(200);
  for (std::size_t i = 0; i < tokens.size(); ++i)
    tokens[i] = static_cast<std::int32_t>(i * 37 % 288);
  ExecutionContext context(2);
  const auto vocab = static_cast<std::size_t>(real_->config().vocab_size);
  double sum = 0;
  int count = 0;
  for (std::size_t begin = 0; begin < tokens.size(); begin += 90) {
    const std::size_t n = std::min<std::size_t>(90, tokens.size() - begin);
    ContiguousCache cache(real_->cache_shape(DType::kF32), 90);
    const SequenceId sequence = cache.add_sequence();
    std::vector<std::int64_t> rows(n);
    std::iota(rows.begin(), rows.end(), 0);
    std::vector<float> logits(n * vocab);
    const auto length = static_cast<std::int64_t>(n);
    real_->forward({std::span(tokens).subspan(begin, n), {&sequence, 1}, {&length, 1}, {}, rows},
                   cache, logits, context);
    for (std::size_t i = 0; i + 1 < n; ++i) {
      double total = 0;
      for (std::size_t v = 0; v < vocab; ++v)
        total += std::exp(static_cast<double>(logits[i * vocab + v]));
      sum -=
          static_cast<double>(logits[i * vocab + static_cast<std::size_t>(tokens[begin + i + 1])]) -
          std::log(total);
      ++count;
    }
  }
  const PerplexityResult r =
      perplexity(*real_, tokens, {.window = 90, .kv_dtype = DType::kF32}, context);
  EXPECT_EQ(r.tokens, count);
  EXPECT_NEAR(r.nll, sum / count, 1e-9);
  EXPECT_NEAR(r.perplexity, std::exp(sum / count), 1e-6);
}

TEST_F(Generate, PerplexitySaysWhatIsWrong) {
  const std::vector<std::int32_t> one = {1}, bad = {1, 2, 999};
  EXPECT_THROW(perplexity(*real_, one, {}), Error);
  EXPECT_THROW(perplexity(*real_, bad, {}), Error);
  const std::vector<std::int32_t> two = {1, 2};
  EXPECT_THROW(perplexity(*real_, two, {.window = 1, .kv_dtype = DType::kF32}), Error);
}

}  // namespace
}  // namespace raptly
