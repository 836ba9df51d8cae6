// How fast a model reads and writes, measured as llama.cpp's llama-bench does.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "raptly/cache.h"
#include "raptly/model.h"

namespace raptly {

struct BenchModelOptions {
  std::vector<std::int64_t> prompts = {512};    // "pp": tokens read at once; 0: no such test
  std::vector<std::int64_t> generated = {128};  // "tg": tokens one by one; 0: no such test
  std::vector<std::int64_t> depths = {0};       // tokens that are in the cache before
  int repetitions = 5;
  DType kv = DType::kF16;
  std::function<void(double done)> progress;  // 0 .. 1; may throw to end it
};

struct BenchModelResult {
  std::string test;  // "pp512", "tg128"
  std::int64_t depth = 0;
  double tokens_per_s = 0;  // mean over the repetitions
  double deviation = 0;     // their standard deviation
  double best = 0;
};

// For each depth: fills the cache once, then each test, one warm-up and `repetitions` timed ones.
// Prompts go in chunks of 512 tokens and want the logits of their last token, as generate() does.
std::vector<BenchModelResult> bench_model(Model& model, const BenchModelOptions& options,
                                          ExecutionContext& context);

}  // namespace raptly
