// prefix(n): prefix-LM. The keys at positions 0 .. n-1 are seen by every query; beyond them a query
// sees the keys up to its own place, as with causal.
#include <memory>

#include "mask/placement.h"
#include "mask/rule_arguments.h"
#include "raptly/mask.h"

namespace raptly {
namespace mask_detail {
namespace {

class Prefix final : public Rule {
 public:
  explicit Prefix(std::int64_t n) : n_(n) {}

  bool sees(const MaskScope& scope, std::int64_t query, std::int64_t key) const override {
    const std::int64_t position = key_position(scope, key);
    return position < n_ || position <= query_position(scope, query);
  }
  TileAnswer answer(const MaskScope& scope, const MaskTile& tile) const override {
    const Range queries = query_positions(scope, tile), keys = key_positions(scope, tile);
    if (keys.most < n_ || keys.most <= queries.least) return TileAnswer::kFull;
    const bool empty = keys.least >= n_ && keys.least > queries.most;
    return empty ? TileAnswer::kEmpty : TileAnswer::kPartial;
  }
  void bits(const MaskScope& scope, const MaskTile& tile,
            std::span<std::uint64_t> words) const override {
    if (!scope.placement) {
      const std::uint64_t everyone = bit_range(0, tile.n_queries, tile.n_queries);
      const std::int64_t origin = scope.first_position + tile.first_query;
      for (std::int64_t k = 0; k < tile.n_keys; ++k) {
        const std::int64_t key = tile.first_key + k;
        words[static_cast<std::size_t>(k)] =
            key < n_ ? everyone : bit_range(key - origin, tile.n_queries, tile.n_queries);
      }
      return;
    }
    bits_by_position(scope, tile, words, [this](std::int64_t query, std::int64_t key) {
      return key < n_ || key <= query;
    });
  }
  std::string to_string() const override { return "prefix(" + std::to_string(n_) + ")"; }

 private:
  std::int64_t n_;
};

}  // namespace

Mask parse_prefix(RuleArguments& args) { return mask::prefix(args.integer(0, "n")); }

}  // namespace mask_detail

Mask mask::prefix(std::int64_t n) {
  if (n < 0) mask_detail::fail("prefix", "n is " + std::to_string(n) + ". It must be 0 or more.");
  return Mask(std::make_shared<mask_detail::Prefix>(n));
}

}  // namespace raptly
