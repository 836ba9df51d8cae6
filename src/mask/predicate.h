// The per-pair answer of a mask, for reference kernels and tests: never the tile answers.
#pragma once

#include <cstdint>

#include "mask/rule.h"
#include "raptly/mask.h"

namespace raptly {

// How often query i of the scope's sequence sees key j: 0 or 1, more where a rule counts pairs
// again. Throws kInvalidArgument when the mask does not fit the scope.
class MaskPredicate {
 public:
  MaskPredicate(const Mask& mask, const MaskScope& scope)
      : mask_(mask), scope_(mask_detail::place_mask(mask, scope)) {}

  int operator()(std::int64_t query, std::int64_t key) const {
    if (!mask_.rule()) return 1;
    if (copies_ == 1) return mask_.rule()->sees(scope_, query, key) ? 1 : 0;
    MaskScope scope = scope_;
    while (scope.copy < copies_ && mask_.rule()->sees(scope, query, key)) ++scope.copy;
    return scope.copy;
  }

 private:
  Mask mask_;
  MaskScope scope_;
  int copies_ = mask_.rule() ? mask_.rule()->max_copies() : 1;
};

}  // namespace raptly
