// How well a model predicts a text: perplexity over disjoint windows.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "raptly/model.h"

namespace raptly {

struct PerplexityOptions {
  std::int64_t window = 1024;    // tokens; at least 2
  DType kv_dtype = DType::kF16;  // storage of keys and values
  std::function<void(std::int64_t done, std::int64_t total)> progress = {};  // tokens
};

struct PerplexityResult {
  double nll = 0;           // mean negative log likelihood of a scored token, natural log
  std::int64_t tokens = 0;  // scored: the first of each window is not
  double perplexity = 0;    // exp(nll)
};

// Windows start at 0, window, 2 window, ... and share nothing; the last may be shorter (one token
// alone scores nothing). Log-softmax in f64. Throws kInvalidArgument when no token is scored.
PerplexityResult perplexity(Model& model, std::span<const std::int32_t> tokens,
                            const PerplexityOptions& options,
                            ExecutionContext& context = default_context());

}  // namespace raptly
