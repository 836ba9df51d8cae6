#include "kernels/rope/rope_frequencies.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>

#include "raptly/error.h"

namespace raptly {
namespace {

[[noreturn]] void reject(const std::string& what) {
  throw Error(ErrorCode::kInvalidArgument, "[rope] " + what);
}

void check(const RopeOptions& options) {
  const RopeScaling& scaling = options.scaling;
  if (options.rotary_dim < 2 || options.rotary_dim % 2 != 0) {
    reject("rotary_dim is " + std::to_string(options.rotary_dim) +
           ". It must be even, at least 2.");
  }
  if (!(options.theta > 0) || !std::isfinite(options.theta)) {
    reject("theta is " + std::to_string(options.theta) + ". It must be a positive number.");
  }
  if (!(scaling.factor > 0) || !std::isfinite(scaling.factor)) {
    reject("the scaling factor is " + std::to_string(scaling.factor) +
           ". It must be a positive number.");
  }
  const bool needs_original =
      scaling.kind == RopeScalingKind::kLlama3 || scaling.kind == RopeScalingKind::kYarn;
  if (needs_original && !(scaling.original_max_positions > 0)) {
    reject("llama3 and yarn scaling need original_max_positions > 0; it is " +
           std::to_string(scaling.original_max_positions) + ".");
  }
  if (scaling.kind == RopeScalingKind::kLlama3 &&
      !(scaling.low_freq_factor > 0 && scaling.high_freq_factor > scaling.low_freq_factor)) {
    reject("low_freq_factor is " + std::to_string(scaling.low_freq_factor) +
           ", high_freq_factor is " + std::to_string(scaling.high_freq_factor) +
           ". They must be positive, the high one above the low one.");
  }
  if (scaling.kind == RopeScalingKind::kYarn &&
      !(scaling.beta_slow > 0 && scaling.beta_fast >= scaling.beta_slow)) {
    reject("beta_fast is " + std::to_string(scaling.beta_fast) + ", beta_slow is " +
           std::to_string(scaling.beta_slow) + ". Needed: beta_fast >= beta_slow > 0.");
  }
  const std::size_t pairs = static_cast<std::size_t>(options.rotary_dim / 2);
  if (!options.divisors.empty() && options.divisors.size() != pairs) {
    reject("there are " + std::to_string(options.divisors.size()) +
           " frequency divisors. There must be rotary_dim / 2 = " + std::to_string(pairs) + ".");
  }
  for (const double d : options.divisors) {
    if (!(d > 0) || !std::isfinite(d)) {
      reject("a frequency divisor is " + std::to_string(d) + ". It must be a positive number.");
    }
  }
}

// Wavelengths short against the trained context stay, long ones are stretched by factor, those
// between are mixed by how many turns they make in it.
double llama3_frequency(double inv_freq, const RopeScaling& s) {
  const double turns = s.original_max_positions * inv_freq / (2 * std::numbers::pi);
  if (turns > s.high_freq_factor) return inv_freq;
  if (turns < s.low_freq_factor) return inv_freq / s.factor;
  const double keep = (turns - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
  return (1 - keep) * inv_freq / s.factor + keep * inv_freq;
}

// The pair whose frequency makes `turns` turns over the trained context.
double yarn_pair_of_turns(double turns, const RopeOptions& o) {
  return o.rotary_dim *
         std::log(o.scaling.original_max_positions / (turns * 2 * std::numbers::pi)) /
         (2 * std::log(o.theta));
}

void apply_yarn(const RopeOptions& o, RopeFrequencies& out) {
  const RopeScaling& s = o.scaling;
  double low = yarn_pair_of_turns(s.beta_fast, o);
  double high = yarn_pair_of_turns(s.beta_slow, o);
  if (s.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(o.rotary_dim - 1));
  if (low == high) high += 0.001;
  for (std::size_t i = 0; i < out.inv_freq.size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    out.inv_freq[i] = out.inv_freq[i] * (1 - ramp) + out.inv_freq[i] / s.factor * ramp;
  }
  const auto magnitude = [&](double scale) {
    return s.factor <= 1 ? 1.0 : 0.1 * scale * std::log(s.factor) + 1;
  };
  if (s.attention_factor) {
    out.attention_factor = *s.attention_factor;
  } else if (s.mscale.value_or(0) != 0 && s.mscale_all_dim.value_or(0) != 0) {
    out.attention_factor = magnitude(*s.mscale) / magnitude(*s.mscale_all_dim);
  } else {
    out.attention_factor = magnitude(1);
  }
}

}  // namespace

RopeFrequencies rope_frequencies(const RopeOptions& options) {
  check(options);
  RopeFrequencies out;
  out.inv_freq.resize(static_cast<std::size_t>(options.rotary_dim / 2));
  for (std::size_t i = 0; i < out.inv_freq.size(); ++i) {
    out.inv_freq[i] = std::pow(options.theta, -2.0 * static_cast<double>(i) / options.rotary_dim);
  }
  switch (options.scaling.kind) {
    case RopeScalingKind::kNone:
      break;
    case RopeScalingKind::kLinear:
      for (double& f : out.inv_freq) f /= options.scaling.factor;
      break;
    case RopeScalingKind::kLlama3:
      for (double& f : out.inv_freq) f = llama3_frequency(f, options.scaling);
      break;
    case RopeScalingKind::kYarn:
      apply_yarn(options, out);
      break;
  }
  for (std::size_t i = 0; i < options.divisors.size(); ++i) {
    out.inv_freq[i] /= options.divisors[i];
  }
  return out;
}

void rope_table(const RopeFrequencies& frequencies, std::span<const std::int64_t> positions,
                float* cos, float* sin) noexcept {
  for (const std::int64_t position : positions) {
    for (const double inv_freq : frequencies.inv_freq) {
      const double angle = static_cast<double>(position) * inv_freq;
      *cos++ = static_cast<float>(std::cos(angle) * frequencies.attention_factor);
      *sin++ = static_cast<float>(std::sin(angle) * frequencies.attention_factor);
    }
  }
}

}  // namespace raptly
