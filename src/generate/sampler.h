// Picks the next token from logits.
//
// Filters run in this order, each on what the ones before left (as transformers orders them):
//   1. repetition penalty on the logits of tokens seen: x > 0 ? x / penalty : x * penalty
//   2. temperature, softmax
//   3. top-k: the k most likely (ties: the lower id goes first)
//   4. top-p: the most likely tokens until their share of what is left reaches p
//   5. min-p: at least min_p times the most likely one
// and one is drawn with probability proportional to p, in order of ascending ids. Random numbers:
// std::mt19937_64 seeded with `seed`, one draw a token, u = (draw >> 11) * 2^-53: the same tokens
// on every machine. temperature 0 takes the largest logit (ties: the lowest id) and draws nothing.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "raptly/execution.h"
#include "raptly/generate.h"

namespace raptly {

class Sampler {
 public:
  // Throws kInvalidArgument for options out of range, naming the option and what is allowed.
  Sampler(const SamplingOptions& options, std::int64_t vocab_size, Isa isa);

  // Tokens that the repetition penalty knows of: the prompt's and the generated ones.
  void accept(std::int32_t token);
  // Overwrites the logits. Throws kInvalidArgument when all are NaN or -inf.
  std::int32_t sample(std::span<float> logits);

 private:
  struct Candidate {
    float p;
    std::int32_t id;
  };
  void penalize(std::span<float> logits) const;
  void keep_top_k();
  void keep_top_p();
  void keep_min_p();
  std::int32_t draw();

  SamplingOptions options_;
  Isa isa_;
  std::vector<bool> seen_;
  std::vector<std::int32_t> seen_ids_;
  std::vector<Candidate> candidates_;
  std::mt19937_64 random_;
};

}  // namespace raptly
