#include "cli/reply.h"

#include <cmath>
#include <cstdio>

namespace raptly {

Reply reply(LoadedModel& loaded, const Conversation& conversation,
            std::span<const std::int32_t> prompt, GenerateOptions options, bool silent,
            Console& console) {
  const auto& [cache, sequence] = conversation;
  ProgressBar bar(console, "reading the prompt");
  options.interrupt = &InterruptGuard::flag();
  Reply reply;
  options.on_prefill = [&](std::int64_t done, std::int64_t total) {
    reply.prefilled = done;
    bar.update(static_cast<double>(done) / static_cast<double>(total));
  };
  options.on_text = [&](std::string_view text) {
    bar.clear();
    if (silent) return;
    console.out() << text;
    console.flush();  // throws when the reader is gone: nothing more is generated
  };
  reply.context = cache.capacity(sequence);
  const std::int64_t before = cache.length(sequence);
  reply.result = generate(*loaded.model, cache, sequence, prompt, options, *loaded.context);
  reply.decode_steps = std::max<std::int64_t>(
      0, cache.length(sequence) - before - static_cast<std::int64_t>(prompt.size()));
  console.flush();
  return reply;
}

nlohmann::ordered_json reply_json(const Reply& reply) {
  const GenerateResult& r = reply.result;
  const auto rate = [](double x) { return std::round(x * 100) / 100; };
  return {{"text", r.text},
          {"tokens", r.tokens},
          {"prompt_tokens", r.prompt_tokens},
          {"finish_reason", finish_reason_name(r.finish_reason)},
          {"prefill_tokens_per_s", rate(per_second(reply.prefilled, r.prefill_seconds))},
          {"decode_tokens_per_s", rate(per_second(reply.decode_steps, r.decode_seconds))}};
}

std::string reply_summary(const Reply& reply) {
  const GenerateResult& r = reply.result;
  char line[160];
  std::snprintf(line, sizeof line, "%lld tokens read at %.0f/s, %zu written at %.0f/s",
                static_cast<long long>(reply.prefilled),
                per_second(reply.prefilled, r.prefill_seconds), r.tokens.size(),
                per_second(reply.decode_steps, r.decode_seconds));
  std::string out = line;
  switch (r.finish_reason) {
    case FinishReason::kStop:
      break;
    case FinishReason::kLength:
      out += "; ended at -n";
      break;
    case FinishReason::kContext:
      out += "; ended because the context of " + std::to_string(reply.context) + " tokens is full";
      break;
    case FinishReason::kInterrupted:
      out += "; interrupted";
      break;
  }
  return out;
}

}  // namespace raptly
