// Any bytes as the text of a mask: an Error, or a mask that prints and parses back to an equal one,
// and whose tile plan is what its pairs say.
#include <algorithm>
#include <bit>
#include <cstdint>
#include <string_view>

#include "mask/predicate.h"
#include "mask/tile_plan.h"
#include "raptly/error.h"

namespace {

using raptly::Mask;

// Bits of the plan against pairs, for a scope that the first bytes choose.
void check_plan(const Mask& mask, const raptly::MaskScope& scope, int tile_queries) {
  const raptly::TilePlan plan(mask, scope, tile_queries);
  const raptly::MaskPredicate sees(mask, scope);
  std::int64_t pairs = 0, in_spans = 0;
  for (const raptly::QueryTile& tile : plan.tiles()) {
    for (const raptly::TileSpan& span : tile.spans) {
      for (std::int64_t k = 0; k < span.n_keys; ++k) {
        for (int i = 0; i < tile.n_queries; ++i) {
          const bool seen = !span.bits || (span.bits[k] >> i & 1) != 0;
          if (seen != sees(tile.first_query + i, span.first_key + k)) __builtin_trap();
          in_spans += seen;
        }
      }
    }
  }
  for (std::int64_t i = 0; i < scope.q_len; ++i) {
    for (std::int64_t j = 0; j < scope.kv_len; ++j) pairs += sees(i, j);
  }
  if (pairs != in_spans || pairs != plan.visible_pairs()) __builtin_trap();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 4) return 0;
  try {
    const Mask mask = Mask::parse({reinterpret_cast<const char*>(data + 4), size - 4});
    const std::string text = mask.to_string();
    // Names written short may print longer than a text may be: base64 never, lists hardly.
    if (text.size() < (1u << 20) && Mask::parse(text).to_string() != text) __builtin_trap();
    const auto scope =
        raptly::bottom_right_scope(data[0] % 80, data[1], data[2] % 3, data[2] / 3 % 4);
    check_plan(mask, scope, 1 + data[3] % 64);
  } catch (const raptly::Error&) {
  }
  return 0;
}
