#include "generate/sampler.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>

#include "kernels/softmax/softmax.h"
#include "raptly/error.h"

namespace raptly {
namespace {

void require(bool ok, const char* option, double value, const char* allowed) {
  if (ok) return;
  throw Error(ErrorCode::kInvalidArgument, "[generate] " + std::string(option) + " is " +
                                               std::to_string(value) + ". It must be " + allowed +
                                               ".");
}

// NaN is skipped; -inf when there is nothing else. Sixteen maxima, which compilers turn into
// vectors: 49,152 logits take 8 us instead of 50.
float largest(std::span<const float> x) {
  std::array<float, 16> part;
  part.fill(-std::numeric_limits<float>::infinity());
  std::size_t i = 0;
  for (; i + part.size() <= x.size(); i += part.size()) {
    for (std::size_t j = 0; j < part.size(); ++j) part[j] = x[i + j] > part[j] ? x[i + j] : part[j];
  }
  for (; i < x.size(); ++i) part[0] = x[i] > part[0] ? x[i] : part[0];
  return *std::max_element(part.begin(), part.end());
}

}  // namespace

Sampler::Sampler(const SamplingOptions& options, std::int64_t vocab_size, Isa isa)
    : options_(options),
      isa_(isa),
      seen_(static_cast<std::size_t>(vocab_size)),
      random_(options.seed) {
  const SamplingOptions& o = options;
  require(o.temperature >= 0 && std::isfinite(o.temperature), "temperature", o.temperature,
          "0 (greedy) or a positive number");
  require(o.top_k >= 0, "top_k", static_cast<double>(o.top_k), "0 (off) or more");
  require(o.top_p > 0 && o.top_p <= 1, "top_p", o.top_p, "in (0, 1]; 1 is off");
  require(o.min_p >= 0 && o.min_p <= 1, "min_p", o.min_p, "in [0, 1]; 0 is off");
  require(o.repeat_penalty > 0 && std::isfinite(o.repeat_penalty), "repeat_penalty",
          o.repeat_penalty, "a positive number; 1 is off");
}

void Sampler::accept(std::int32_t token) {
  const auto i = static_cast<std::size_t>(token);
  if (token < 0 || i >= seen_.size() || seen_[i]) return;
  seen_[i] = true;
  seen_ids_.push_back(token);
}

void Sampler::penalize(std::span<float> logits) const {
  if (options_.repeat_penalty == 1) return;
  for (const std::int32_t id : seen_ids_) {
    float& x = logits[static_cast<std::size_t>(id)];
    x = x > 0 ? x / options_.repeat_penalty : x * options_.repeat_penalty;
  }
}

std::int32_t Sampler::sample(std::span<float> logits) {
  penalize(logits);
  const float top = largest(logits);
  if (std::isinf(top)) {
    throw Error(
        ErrorCode::kCorruptFile,
        "[generate] the model's logits are not finite. Its weights or its cache are broken.");
  }
  const float inverse = 1 / options_.temperature;
  if (!std::isfinite(inverse)) {  // 0, or so little that only the largest has a chance
    return static_cast<std::int32_t>(std::find(logits.begin(), logits.end(), top) - logits.begin());
  }
  for (float& x : logits) {
    if (std::isnan(x)) x = -INFINITY;
  }
  softmax(logits.data(), static_cast<std::int64_t>(logits.size()), inverse, logits.data(), isa_);
  candidates_.clear();
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] > 0) candidates_.push_back({logits[i], static_cast<std::int32_t>(i)});
  }
  keep_top_k();
  keep_top_p();
  keep_min_p();
  return draw();
}

namespace {
constexpr auto kMoreLikely = [](const auto& a, const auto& b) {
  return a.p > b.p || (a.p == b.p && a.id < b.id);
};
}  // namespace

void Sampler::keep_top_k() {
  const auto k = static_cast<std::size_t>(options_.top_k);
  if (k == 0 || k >= candidates_.size()) return;
  std::nth_element(candidates_.begin(), candidates_.begin() + static_cast<std::ptrdiff_t>(k),
                   candidates_.end(), kMoreLikely);
  candidates_.resize(k);
}

void Sampler::keep_top_p() {
  if (options_.top_p >= 1) return;
  const double p = static_cast<double>(options_.top_p);
  double total = 0;
  for (const Candidate& c : candidates_) total += static_cast<double>(c.p);
  // Those below (1 - p) / n of the total add up to less than 1 - p of it, so the nucleus lies among
  // the others: sorting them alone is exact, and they are few.
  const double floor = (1 - p) * total / static_cast<double>(candidates_.size());
  std::erase_if(candidates_, [&](const Candidate& c) { return static_cast<double>(c.p) < floor; });
  std::sort(candidates_.begin(), candidates_.end(), kMoreLikely);
  double sum = 0;
  std::size_t n = 0;
  while (n < candidates_.size() && sum < p * total) sum += static_cast<double>(candidates_[n++].p);
  candidates_.resize(n);
}

void Sampler::keep_min_p() {
  if (options_.min_p <= 0) return;
  float top = 0;
  for (const Candidate& c : candidates_) top = std::max(top, c.p);
  const float floor = options_.min_p * top;
  std::erase_if(candidates_, [&](const Candidate& c) { return c.p < floor; });
}

std::int32_t Sampler::draw() {
  const auto by_id = [](const Candidate& a, const Candidate& b) { return a.id < b.id; };
  if (!std::is_sorted(candidates_.begin(), candidates_.end(), by_id)) {
    std::sort(candidates_.begin(), candidates_.end(), by_id);
  }
  double total = 0;
  for (const Candidate& c : candidates_) total += static_cast<double>(c.p);
  const double target = static_cast<double>(random_() >> 11) * 0x1p-53 * total;
  double sum = 0;
  for (const Candidate& c : candidates_) {
    sum += static_cast<double>(c.p);
    if (target < sum) return c.id;
  }
  return candidates_.back().id;
}

}  // namespace raptly
