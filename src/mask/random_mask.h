// Random masks and scopes for property tests.
#pragma once

#include <rapidcheck.h>

#include <optional>
#include <vector>

#include "mask/rule.h"
#include "raptly/mask.h"

namespace raptly::mask_testing {

inline std::int64_t number(std::int64_t least, std::int64_t most) {
  return *rc::gen::inRange<std::int64_t>(least, most + 1);
}

inline MaskScope random_scope(std::int64_t max_len) {
  MaskScope scope;
  scope.batch = number(0, 2);
  scope.q_len = number(0, max_len);
  scope.kv_len = number(0, max_len);
  scope.first_position =
      number(0, 3) > 0 ? scope.kv_len - scope.q_len : number(-max_len, 2 * max_len);
  return scope;
}

inline std::optional<std::int64_t> random_bound(std::int64_t max_len) {
  const std::int64_t kind = number(0, 5);
  if (kind == 0) return std::nullopt;
  return number(0, kind < 4 ? max_len / 4 : 2 * max_len);
}

inline Mask random_rule(const MaskScope& scope, bool& has_lengths) {
  const std::int64_t max_len = std::max(scope.q_len, scope.kv_len) + 1;
  switch (number(0, has_lengths ? 4 : 5)) {
    case 0:
      return mask::causal();
    case 1:
      return mask::causal(mask::Corner::kTopLeft);
    case 2: {
      const auto left = random_bound(max_len);
      return mask::window(left, random_bound(max_len));
    }
    case 3:
      return mask::mistral(number(1, max_len));
    case 4:
      return Mask();
    default: {
      has_lengths = true;
      std::vector<std::int64_t> q_lens, kv_lens;
      for (int b = 0; b < 3; ++b) {
        q_lens.push_back(number(0, scope.q_len));
        kv_lens.push_back(number(0, scope.kv_len));
      }
      return mask::lengths(q_lens, kv_lens);
    }
  }
}

// 0 to 4 rules joined with &, for batches of three.
inline Mask random_mask(const MaskScope& scope) {
  Mask mask;
  bool has_lengths = false;
  for (std::int64_t n = number(0, 4); n > 0; --n) mask = mask & random_rule(scope, has_lengths);
  return mask;
}

}  // namespace raptly::mask_testing
