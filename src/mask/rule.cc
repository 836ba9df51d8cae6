#include "mask/rule.h"

#include "mask/placement.h"
#include "raptly/error.h"

namespace raptly::mask_detail {

void Rule::bits(const MaskScope& scope, const MaskTile& tile,
                std::span<std::uint64_t> words) const {
  for (std::int64_t k = 0; k < tile.n_keys; ++k) {
    std::uint64_t word = 0;
    for (std::int64_t i = 0; i < tile.n_queries; ++i) {
      const bool seen = sees(scope, tile.first_query + i, tile.first_key + k);
      word |= static_cast<std::uint64_t>(seen) << i;
    }
    words[static_cast<std::size_t>(k)] = word;
  }
}

namespace {

void check_number(const char* name, std::int64_t value, std::int64_t least) {
  if (value >= least && value <= kMaxPosition) return;
  fail("mask", std::string(name) + " is " + std::to_string(value) + ". It must be " +
                   std::to_string(least) + " .. 2^48.");
}

}  // namespace

MaskScope place_mask(const Mask& mask, const MaskScope& scope) {
  check_number("q_len", scope.q_len, 0);
  check_number("kv_len", scope.kv_len, 0);
  check_number("first_position", scope.first_position, -kMaxPosition);
  check_number("batch", scope.batch, 0);
  check_number("head", scope.head, 0);
  if (!mask.rule()) return scope;
  const MaskScope placed = mask.rule()->place(scope);
  mask.rule()->check(placed);
  return placed;
}

void fail_out_of_memory(const MaskScope& scope) {
  throw Error(ErrorCode::kOutOfMemory, "[mask] q_len " + std::to_string(scope.q_len) +
                                           " and kv_len " + std::to_string(scope.kv_len) +
                                           " need more memory than there is.");
}

void fail(const char* where, const std::string& message) {
  throw Error(ErrorCode::kInvalidArgument, std::string("[") + where + "] " + message);
}

void check_number(const char* where, const char* name, std::int64_t value, NumberRange range) {
  if (value >= range.least && value <= range.most) return;
  fail(where, std::string(name) + " is " + std::to_string(value) + ". It must be " +
                  std::to_string(range.least) + " .. " + std::to_string(range.most) + ".");
}

}  // namespace raptly::mask_detail
