// Bias and sinks of a plan, as kernels take them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "attention/plan.h"
#include "mask/bias_terms.h"

namespace raptly {

class AttentionBias {
 public:
  AttentionBias() = default;
  // Checked options. Heads [i * lanes, (i + 1) * lanes) share lanes. Throws as masks do that do not
  // fit a sequence. Keeps what it needs of the options; a dense bias stays the caller's.
  AttentionBias(const AttentionOptions& options, std::span<const SequenceGeometry> sequences,
                std::int64_t n_heads, int lanes);
  AttentionBias(AttentionBias&&) noexcept = default;
  AttentionBias& operator=(AttentionBias&&) noexcept = default;

  const ScoreBias* of(std::size_t sequence) const {
    return entries_.empty() ? nullptr : &entries_[sequence];
  }
  const float* sinks() const { return sinks_.empty() ? nullptr : sinks_.data(); }

 private:
  Bias bias_;
  Mask mask_;                       // positions belong to it
  std::vector<float> by_query_;     // ScoreBias::by_query
  std::vector<ScoreBias> entries_;  // of each sequence
  std::vector<float> sinks_;
};

}  // namespace raptly
