// The angles of rotary embeddings: frequencies with their scaling, and tables of cos and sin.
//
// Pair i of rotary_dim / 2 turns by position * inv_freq[i]; unscaled inv_freq[i] = theta^(-2 i /
// rotary_dim). Scaled forms follow transformers' modeling_rope_utils (semantics of each in
// rope_frequencies.cc).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace raptly {

enum class RopeScalingKind { kNone, kLinear, kLlama3, kYarn };

struct RopeScaling {
  RopeScalingKind kind = RopeScalingKind::kNone;
  double factor = 1;                             // > 0
  double original_max_positions = 0;             // llama3, yarn: trained context before the scaling
  double low_freq_factor = 1;                    // llama3
  double high_freq_factor = 4;                   // llama3; above low_freq_factor
  double beta_fast = 32, beta_slow = 1;          // yarn
  std::optional<double> attention_factor;        // yarn: of cos and sin; default 0.1 ln(factor) + 1
  std::optional<double> mscale, mscale_all_dim;  // yarn: their quotient, where both are given
  bool truncate = true;                          // yarn: whole numbers for the ends of the ramp
};

struct RopeOptions {
  int rotary_dim = 0;  // even, >= 2
  double theta = 10000;
  RopeScaling scaling;
  // Llama 3 GGUF files hold their scaling as one divisor a pair (rope_freqs.weight); empty: none.
  std::vector<double> divisors;
};

struct RopeFrequencies {
  std::vector<double> inv_freq;  // [rotary_dim / 2]
  double attention_factor = 1;   // multiplies cos and sin
};

// Throws kInvalidArgument for sizes, factors or divisors out of range.
RopeFrequencies rope_frequencies(const RopeOptions& options);

// cos, sin: [positions, rotary_dim / 2] f32. Angles, sine and cosine in f64, rounded once to f32.
void rope_table(const RopeFrequencies& frequencies, std::span<const std::int64_t> positions,
                float* cos, float* sin) noexcept;

}  // namespace raptly
