// padding(keep): keys with keep 0 are seen by no query, wherever they lie: left, right or between.
// Positions stay where they are; a padded key still counts (the grid of ordinals never moves).
#include <memory>
#include <utility>
#include <vector>

#include "mask/per_batch.h"
#include "raptly/mask.h"

namespace raptly {
namespace mask_detail {
namespace {

class Padding final : public Rule {
 public:
  explicit Padding(const mask::PerBatch& keep) : keep_(keep) {}

  bool sees(const MaskScope& scope, std::int64_t, std::int64_t key) const override {
    return keep_.of(scope)[key] != 0;
  }
  TileAnswer answer(const MaskScope& scope, const MaskTile& tile) const override {
    const Range keep = keep_.of(scope).range(tile.first_key, tile.n_keys);
    if (keep.most == 0) return TileAnswer::kEmpty;
    return keep.least == 1 ? TileAnswer::kFull : TileAnswer::kPartial;
  }
  void bits(const MaskScope& scope, const MaskTile& tile,
            std::span<std::uint64_t> words) const override {
    const std::uint64_t everyone = bit_range(0, tile.n_queries, tile.n_queries);
    const RangeTable& keep = keep_.of(scope);
    for (std::int64_t k = 0; k < tile.n_keys; ++k) {
      words[static_cast<std::size_t>(k)] = keep[tile.first_key + k] != 0 ? everyone : 0;
    }
  }
  std::string to_string() const override { return "padding(" + keep_.to_string() + ")"; }
  void check(const MaskScope& scope) const override {
    check_entry("padding", batch(), scope);
    check_size("padding", "keep", keep_.of(scope).size(), "kv_len", scope.kv_len);
  }
  std::int64_t batch() const override { return keep_.batch(); }

 private:
  BatchTables keep_;
};

}  // namespace

Mask parse_padding(RuleArguments& args) { return mask::padding(args.per_batch(0, "keep")); }

}  // namespace mask_detail

Mask mask::padding(const PerBatch& keep) {
  mask_detail::check_values("padding", "keep", keep, 0, 1);
  return Mask(std::make_shared<mask_detail::Padding>(keep));
}

}  // namespace raptly
