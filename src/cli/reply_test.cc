// What is said about a generation.
#include "cli/reply.h"

#include <gtest/gtest.h>

#include <csignal>

#include "cli/test_program.h"

namespace raptly {
namespace {

TEST(Reply, AnInterruptedPromptCountsWhatWasRead) {
  Console console;
  const InterruptGuard guard;
  ModelOptions options;
  options.path = test::tiny_model("quantized.gguf");
  LoadedModel loaded = load(options, console);
  ContiguousCache cache(loaded.model->cache_shape(loaded.kv), 64);
  const std::vector<std::int32_t> prompt(50, 7);
  std::raise(SIGINT);
  const Reply r = reply(loaded, {cache, cache.add_sequence()}, prompt, {}, true, console);
  EXPECT_EQ(r.result.finish_reason, FinishReason::kInterrupted);
  EXPECT_EQ(r.prefilled, 0);
  EXPECT_EQ(reply_json(r)["prefill_tokens_per_s"], 0);
  EXPECT_EQ(reply_json(r)["prompt_tokens"], 50);
  EXPECT_EQ(reply_summary(r).find("0 tokens read at 0/s"), 0u) << reply_summary(r);
}

TEST(Reply, AFullContextIsNamedWithItsSize) {
  Reply r;
  r.context = 60;
  r.result.finish_reason = FinishReason::kContext;
  EXPECT_NE(reply_summary(r).find("the context of 60 tokens is full"), std::string::npos);
}

}  // namespace
}  // namespace raptly
