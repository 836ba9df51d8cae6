// causal: a query sees the keys up to its own place.
//   bottom_right  key position <= query position          flash-attn >= 2.1, caches
//   top_left      key <= query, each counted from 0       PyTorch's is_causal
#include <memory>

#include "mask/placement.h"
#include "mask/rule_arguments.h"
#include "raptly/mask.h"

namespace raptly {
namespace mask_detail {
namespace {

class Causal final : public Rule {
 public:
  explicit Causal(mask::Corner corner) : top_left_(corner == mask::Corner::kTopLeft) {}

  bool sees(const MaskScope& scope, std::int64_t query, std::int64_t key) const override {
    if (!top_left_) return key_position(scope, key) <= query_position(scope, query);
    if (!scope.placement) return key <= query;
    return scope.placement->key_index(key) <= scope.placement->query_index(query);
  }
  TileAnswer answer(const MaskScope& scope, const MaskTile& tile) const override {
    Range queries = query_positions(scope, tile), keys = key_positions(scope, tile);
    if (top_left_) {
      queries = scope.placement ? scope.placement->query_indices(tile.first_query, tile.n_queries)
                                : Range{tile.first_query, tile.last_query()};
      if (scope.placement) keys = scope.placement->key_indices(tile.first_key, tile.n_keys);
    }
    if (keys.most <= queries.least) return TileAnswer::kFull;
    return keys.least > queries.most ? TileAnswer::kEmpty : TileAnswer::kPartial;
  }
  void bits(const MaskScope& scope, const MaskTile& tile,
            std::span<std::uint64_t> words) const override {
    if (!top_left_) {
      return bits_by_distance(
          scope, tile, words,
          [](std::int64_t distance, std::int64_t n) { return bit_range(distance, n, n); },
          [](std::int64_t query, std::int64_t key) { return key <= query; });
    }
    if (scope.placement) return Rule::bits(scope, tile, words);
    std::int64_t from = tile.first_key - tile.first_query;
    for (std::int64_t k = 0; k < tile.n_keys; ++k, ++from) {
      words[static_cast<std::size_t>(k)] = bit_range(from, tile.n_queries, tile.n_queries);
    }
  }
  std::string to_string() const override {
    return top_left_ ? "causal(corner=\"top_left\")" : "causal";
  }

 private:
  bool top_left_;
};

}  // namespace

Mask parse_causal(RuleArguments& args) {
  const bool top_left = args.choice(0, "corner", {"bottom_right", "top_left"}) == 1;
  return mask::causal(top_left ? mask::Corner::kTopLeft : mask::Corner::kBottomRight);
}

}  // namespace mask_detail

Mask mask::causal(Corner corner) { return Mask(std::make_shared<mask_detail::Causal>(corner)); }

}  // namespace raptly
