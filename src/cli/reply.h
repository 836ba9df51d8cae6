// One generation of `run` and `chat`, streamed to the terminal.
#pragma once

#include <nlohmann/json.hpp>
#include <span>

#include "cli/console.h"
#include "cli/model_options.h"

namespace raptly {

struct Reply {
  GenerateResult result;
  std::int64_t prefilled = 0;     // tokens of the prompt that were read; less when interrupted
  std::int64_t context = 0;       // tokens that the sequence may have
  std::int64_t decode_steps = 0;  // forward passes after the prompt
};

// Where a reply is kept.
struct Conversation {
  KvCache& cache;
  SequenceId sequence;
};

// Generates after `prompt`; writes the text to stdout as it comes unless `silent`. Stops quietly
// when the reader of stdout is gone. An InterruptGuard has to be alive.
Reply reply(LoadedModel& loaded, const Conversation& conversation,
            std::span<const std::int32_t> prompt, GenerateOptions options, bool silent,
            Console& console);

// {"text", "tokens", "prompt_tokens", "finish_reason", "prefill_tokens_per_s",
// "decode_tokens_per_s"}
nlohmann::ordered_json reply_json(const Reply& reply);
// "36 tokens of prompt at 512/s, 40 written at 170/s" and why it ended, where that is not plain.
std::string reply_summary(const Reply& reply);

}  // namespace raptly
