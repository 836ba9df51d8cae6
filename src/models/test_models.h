// Helpers of this room's tests.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "raptly/model.h"

namespace raptly::test {

inline std::string testdata(const std::string& name) {
  return std::string(RAPTLY_SOURCE_DIR) + "/src/models/testdata/" + name;
}

inline std::vector<std::int64_t> all_rows(std::size_t n) {
  std::vector<std::int64_t> rows(n);
  for (std::size_t i = 0; i < n; ++i) rows[i] = static_cast<std::int64_t>(i);
  return rows;
}

// Appends tokens to a sequence; returns the logits of these rows, [rows, vocab_size].
inline std::vector<float> forward_rows(Model& model, KvCache& cache, SequenceId sequence,
                                       std::span<const std::int32_t> tokens,
                                       const std::vector<std::int64_t>& rows,
                                       ExecutionContext& context) {
  const auto n = static_cast<std::int64_t>(tokens.size());
  std::vector<float> logits(rows.size() * static_cast<std::size_t>(model.config().vocab_size));
  model.forward({.tokens = tokens,
                 .sequences = {&sequence, 1},
                 .lengths = {&n, 1},
                 .positions = {},
                 .logit_rows = rows},
                cache, logits, context);
  return logits;
}

// Tokens that use the whole vocabulary.
inline std::vector<std::int32_t> some_tokens(std::size_t n, std::int64_t vocab_size) {
  std::vector<std::int32_t> tokens(n);
  std::uint64_t x = 12345;
  for (std::int32_t& t : tokens) {
    x = x * 6364136223846793005u + 1442695040888963407u;
    t = static_cast<std::int32_t>((x >> 33) % static_cast<std::uint64_t>(vocab_size));
  }
  return tokens;
}

}  // namespace raptly::test
