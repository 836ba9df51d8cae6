#include "generate/perplexity.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "base/aligned.h"
#include "base/thread_pool.h"
#include "raptly/error.h"

namespace raptly {
namespace {

// Rows of logits held at once: 128 x 49,152 x 4 bytes are 25 MB.
constexpr std::int64_t kRowsAtOnce = 128;

double negative_log_likelihood(const float* logits, std::int64_t n, std::int32_t token) {
  const double top = static_cast<double>(*std::max_element(logits, logits + n));
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += std::exp(static_cast<double>(logits[i]) - top);
  return std::log(sum) + top - static_cast<double>(logits[token]);
}

// Adds the window's scores, in order of its tokens.
double score_window(Model& model, std::span<const std::int32_t> tokens, KvCache& cache,
                    std::span<float> logits, ExecutionContext& context) {
  const std::int64_t vocab_size = model.config().vocab_size;
  const SequenceId sequence = cache.add_sequence();
  const auto n = static_cast<std::int64_t>(tokens.size());
  double sum = 0;
  for (std::int64_t begin = 0; begin < n - 1; begin += kRowsAtOnce) {
    const std::int64_t rows = std::min(kRowsAtOnce, n - 1 - begin);
    std::vector<std::int64_t> wanted(static_cast<std::size_t>(rows));
    std::iota(wanted.begin(), wanted.end(), 0);
    const std::size_t elements = static_cast<std::size_t>(rows * vocab_size);
    model.forward({.tokens = tokens.subspan(static_cast<std::size_t>(begin), wanted.size()),
                   .sequences = {&sequence, 1},
                   .lengths = {&rows, 1},
                   .positions = {},
                   .logit_rows = wanted},
                  cache, logits.first(elements), context);
    std::vector<double> scores(wanted.size());
    context.pool().parallel_for(rows, [&](std::int64_t r, int) {
      scores[static_cast<std::size_t>(r)] =
          negative_log_likelihood(logits.data() + r * vocab_size, vocab_size,
                                  tokens[static_cast<std::size_t>(begin + r + 1)]);
    });
    for (const double score : scores) sum += score;
  }
  cache.remove(sequence);
  return sum;
}

}  // namespace

PerplexityResult perplexity(Model& model, std::span<const std::int32_t> tokens,
                            const PerplexityOptions& options, ExecutionContext& context) {
  if (options.window < 2) {
    throw Error(ErrorCode::kInvalidArgument, "[perplexity] window is " +
                                                 std::to_string(options.window) +
                                                 ". It must be at least 2 tokens.");
  }
  if (tokens.size() < 2) {
    throw Error(ErrorCode::kInvalidArgument,
                "[perplexity] the text has " + std::to_string(tokens.size()) +
                    " tokens. At least 2 are needed: the first of a window is not scored.");
  }
  const std::int64_t vocab_size = model.config().vocab_size;
  for (const std::int32_t token : tokens) {
    if (token < 0 || token >= vocab_size) {
      throw Error(ErrorCode::kInvalidArgument, "[perplexity] a token is " + std::to_string(token) +
                                                   ". The vocabulary has ids 0 .. " +
                                                   std::to_string(vocab_size - 1) + ".");
    }
  }
  const auto total = static_cast<std::int64_t>(tokens.size());
  ContiguousCache cache(model.cache_shape(options.kv_dtype), std::min(options.window, total));
  const AlignedArray<float> logits(static_cast<std::size_t>(kRowsAtOnce * vocab_size));
  PerplexityResult result;
  double sum = 0;
  for (std::int64_t begin = 0; begin < total; begin += options.window) {
    const std::int64_t n = std::min(options.window, total - begin);
    if (n >= 2) {
      sum += score_window(
          model, tokens.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(n)),
          cache, logits.span(), context);
      result.tokens += n - 1;
    }
    if (options.progress) options.progress(begin + n, total);
  }
  result.nll = sum / static_cast<double>(result.tokens);
  result.perplexity = std::exp(result.nll);
  return result;
}

}  // namespace raptly
