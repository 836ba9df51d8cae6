// The per-pair answer of a mask, for reference kernels and tests: never the tile answers.
#pragma once

#include <cstdint>

#include "mask/rule.h"
#include "raptly/mask.h"

namespace raptly {

// Whether query i of the scope's sequence sees key j. Throws kInvalidArgument when the mask does
// not fit the scope.
class MaskPredicate {
 public:
  MaskPredicate(const Mask& mask, const MaskScope& scope)
      : mask_(mask), scope_(mask_detail::place_mask(mask, scope)) {}

  bool operator()(std::int64_t query, std::int64_t key) const {
    return !mask_.rule() || mask_.rule()->sees(scope_, query, key);
  }

 private:
  Mask mask_;
  MaskScope scope_;
};

}  // namespace raptly
