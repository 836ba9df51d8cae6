#include "cli/bench_model.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <span>

namespace raptly {
namespace {

constexpr std::int64_t kChunk = 512;

class Bench {
 public:
  Bench(Model& model, const BenchModelOptions& options, ExecutionContext& context)
      : model_(model),
        options_(options),
        context_(context),
        cache_(model.cache_shape(options.kv), capacity(options)),
        sequence_(cache_.add_sequence()),
        tokens_(static_cast<std::size_t>(capacity(options))),
        logits_(static_cast<std::size_t>(model.config().vocab_size)) {
    // Any tokens do: the work does not depend on them.
    std::uint64_t state = 1;
    for (std::int32_t& token : tokens_) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      token = static_cast<std::int32_t>((state >> 33) %
                                        static_cast<std::uint64_t>(model.config().vocab_size));
    }
  }

  std::vector<BenchModelResult> run() {
    std::vector<BenchModelResult> results;
    for (const std::int64_t depth : options_.depths) {
      cache_.truncate(sequence_, 0);
      read(depth, kChunk);
      depth_ = depth;
      for (const std::int64_t n : options_.prompts) {
        if (n > 0) results.push_back(measure("pp" + std::to_string(n), n, kChunk));
      }
      for (const std::int64_t n : options_.generated) {
        if (n > 0) results.push_back(measure("tg" + std::to_string(n), n, 1));
      }
    }
    return results;
  }

 private:
  static std::int64_t capacity(const BenchModelOptions& options) {
    const auto largest = [](const std::vector<std::int64_t>& v) {
      return v.empty() ? 0 : *std::max_element(v.begin(), v.end());
    };
    return std::max<std::int64_t>(
        1,
        largest(options.depths) + std::max(largest(options.prompts), largest(options.generated)));
  }

  // Appends n tokens, `chunk` at a time, each time with the logits of the last.
  void read(std::int64_t n, std::int64_t chunk) {
    for (std::int64_t done = 0; done < n;) {
      if (options_.progress) options_.progress(share_done());
      const std::int64_t length = std::min(chunk, n - done);
      const std::int64_t last = length - 1;
      const auto first = static_cast<std::size_t>(cache_.length(sequence_));
      model_.forward({.tokens = std::span(tokens_).subspan(first, static_cast<std::size_t>(length)),
                      .sequences = {&sequence_, 1},
                      .lengths = {&length, 1},
                      .positions = {},
                      .logit_rows = {&last, 1}},
                     cache_, logits_, context_);
      done += length;
    }
  }

  BenchModelResult measure(std::string test, std::int64_t n, std::int64_t chunk) {
    std::vector<double> speeds;
    for (int i = -1; i < options_.repetitions; ++i) {  // -1: warm-up
      cache_.truncate(sequence_, depth_);
      const auto start = std::chrono::steady_clock::now();
      read(n, chunk);
      const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
      if (i >= 0) speeds.push_back(static_cast<double>(n) / time.count());
      ++done_;
    }
    cache_.truncate(sequence_, depth_);
    BenchModelResult result{.test = std::move(test), .depth = depth_};
    for (const double s : speeds) result.tokens_per_s += s / static_cast<double>(speeds.size());
    for (const double s : speeds) result.deviation += std::pow(s - result.tokens_per_s, 2);
    if (speeds.size() > 1) {
      result.deviation = std::sqrt(result.deviation / static_cast<double>(speeds.size() - 1));
    }
    result.best = *std::max_element(speeds.begin(), speeds.end());
    return result;
  }

  double share_done() const {
    const std::size_t tests =
        options_.depths.size() * (options_.prompts.size() + options_.generated.size());
    const double all = static_cast<double>(tests) * (options_.repetitions + 1);
    return std::min(1.0, static_cast<double>(done_) / all);
  }

  Model& model_;
  const BenchModelOptions& options_;
  ExecutionContext& context_;
  ContiguousCache cache_;
  SequenceId sequence_;
  std::vector<std::int32_t> tokens_;
  std::vector<float> logits_;
  std::int64_t depth_ = 0;
  std::int64_t done_ = 0;  // repetitions
};

}  // namespace

std::vector<BenchModelResult> bench_model(Model& model, const BenchModelOptions& options,
                                          ExecutionContext& context) {
  return Bench(model, options, context).run();
}

}  // namespace raptly
