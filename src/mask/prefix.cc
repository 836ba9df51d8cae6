// prefix(n): prefix-LM. The keys at positions 0 .. n-1 are seen by every query; beyond them a query
// sees the keys up to its own place, as with causal.
#include <algorithm>
#include <memory>

#include "mask/rule.h"
#include "mask/rule_arguments.h"
#include "raptly/error.h"
#include "raptly/mask.h"

namespace raptly {
namespace mask_detail {
namespace {

class Prefix final : public Rule {
 public:
  explicit Prefix(std::int64_t n) : n_(n) {}

  bool sees(const MaskScope& scope, std::int64_t query, std::int64_t key) const override {
    return key < n_ || key <= scope.first_position + query;
  }
  TileAnswer answer(const MaskScope& scope, const MaskTile& tile) const override {
    const std::int64_t first = scope.first_position + tile.first_query;
    if (tile.last_key() < n_ || tile.last_key() <= first) return TileAnswer::kFull;
    const bool empty = tile.first_key >= n_ && tile.first_key > first + tile.n_queries - 1;
    return empty ? TileAnswer::kEmpty : TileAnswer::kPartial;
  }
  std::string to_string() const override { return "prefix(" + std::to_string(n_) + ")"; }

 private:
  std::int64_t n_;
};

}  // namespace

Mask parse_prefix(RuleArguments& args) { return mask::prefix(args.integer(0, "n")); }

}  // namespace mask_detail

Mask mask::prefix(std::int64_t n) {
  if (n < 0) {
    throw Error(ErrorCode::kInvalidArgument,
                "[prefix] n is " + std::to_string(n) + ". It must be 0 or more.");
  }
  return Mask(std::make_shared<mask_detail::Prefix>(n));
}

}  // namespace raptly
