// causal: a query sees the keys up to its own place.
//   bottom_right  key <= first_position + query   flash-attn >= 2.1, caches
//   top_left      key <= query                    PyTorch's is_causal
#include <memory>

#include "mask/rule.h"
#include "mask/rule_arguments.h"
#include "raptly/mask.h"

namespace raptly {
namespace mask_detail {
namespace {

class Causal final : public Rule {
 public:
  explicit Causal(mask::Corner corner) : corner_(corner) {}

  bool sees(const MaskScope& scope, std::int64_t query, std::int64_t key) const override {
    return key <= origin(scope) + query;
  }
  TileAnswer answer(const MaskScope& scope, const MaskTile& tile) const override {
    const std::int64_t first = origin(scope) + tile.first_query;
    if (tile.last_key() <= first) return TileAnswer::kFull;
    return tile.first_key > first + tile.n_queries - 1 ? TileAnswer::kEmpty : TileAnswer::kPartial;
  }
  void bits(const MaskScope& scope, const MaskTile& tile,
            std::span<std::uint64_t> words) const override {
    std::int64_t from = tile.first_key - origin(scope) - tile.first_query;
    for (std::int64_t k = 0; k < tile.n_keys; ++k, ++from) {
      words[static_cast<std::size_t>(k)] = bit_range(from, tile.n_queries, tile.n_queries);
    }
  }
  std::string to_string() const override {
    return corner_ == mask::Corner::kTopLeft ? "causal(corner=\"top_left\")" : "causal";
  }

 private:
  std::int64_t origin(const MaskScope& scope) const {
    return corner_ == mask::Corner::kTopLeft ? 0 : scope.first_position;
  }
  mask::Corner corner_;
};

}  // namespace

Mask parse_causal(RuleArguments& args) {
  const bool top_left = args.choice(0, "corner", {"bottom_right", "top_left"}) == 1;
  return mask::causal(top_left ? mask::Corner::kTopLeft : mask::Corner::kBottomRight);
}

}  // namespace mask_detail

Mask mask::causal(Corner corner) { return Mask(std::make_shared<mask_detail::Causal>(corner)); }

}  // namespace raptly
