#include "attention/plan_bias.h"

#include <algorithm>
#include <new>
#include <string>

#include "mask/rule.h"
#include "raptly/error.h"

namespace raptly {
AttentionBias::AttentionBias(const AttentionOptions& options,
                             std::span<const SequenceGeometry> sequences, std::int64_t n_heads,
                             int lanes)
    : bias_(options.bias), mask_(options.mask) {
  if (options.sinks.given()) {
    for (std::int64_t h = 0; h < n_heads; ++h) {
      sinks_.push_back(options.sinks.as<float>()[h * options.sinks.stride(0)]);
    }
  }
  if (!bias_.given()) return;
  const bias_detail::Terms& terms = *bias_.terms();
  // One query of a sequence gains nothing from neighbours in the table.
  const bool lines = std::any_of(sequences.begin(), sequences.end(),
                                 [](const SequenceGeometry& s) { return s.q_len > 1; });
  if (terms.kind == BiasKind::kOffset && lines) {
    try {
      by_query_ = table_by_query(terms, lanes);
    } catch (const std::bad_alloc&) {
      throw Error(ErrorCode::kOutOfMemory,
                  "[attention] there is no memory for the bias, a table of " +
                      std::to_string(terms.table.size()) + " entries.");
    }
  }
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    const SequenceGeometry& s = sequences[i];
    const MaskScope scope{static_cast<std::int64_t>(i), 0, s.q_len, s.kv_len, s.first_position};
    entries_.push_back(score_bias(terms, mask_detail::place_mask(mask_, scope)));
    entries_.back().by_query = by_query_.empty() ? nullptr : by_query_.data();
  }
}

}  // namespace raptly
