// dilated(window, step): a query at position p sees the keys p + step * t for t = -window ..
// window: a window with gaps. dilated(w, 1) sees what window(w, w) sees. The step may be a list,
// one for each head.
#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "mask/per_batch.h"
#include "raptly/mask.h"

namespace raptly {
namespace mask_detail {
namespace {

class Dilated final : public Rule {
 public:
  Dilated(std::int64_t window, std::vector<std::int64_t> steps)
      : window_(window), steps_(std::move(steps)) {}

  bool sees(const MaskScope& scope, std::int64_t query, std::int64_t key) const override {
    const std::int64_t distance = key_position(scope, key) - query_position(scope, query);
    return distance % step(scope) == 0 && std::abs(distance) <= reach(scope);
  }
  TileAnswer answer(const MaskScope& scope, const MaskTile& tile) const override {
    const Range queries = query_positions(scope, tile), keys = key_positions(scope, tile);
    const Range all{keys.least - queries.most, keys.most - queries.least};
    const std::int64_t least = std::max(all.least, -reach(scope));
    const std::int64_t most = std::min(all.most, reach(scope));
    if (least > most || first_multiple(least, step(scope)) > most) return TileAnswer::kEmpty;
    const bool inside = least == all.least && most == all.most;
    return inside && (step(scope) == 1 || least == most) ? TileAnswer::kFull : TileAnswer::kPartial;
  }
  void bits(const MaskScope& scope, const MaskTile& tile,
            std::span<std::uint64_t> words) const override {
    const std::int64_t step = this->step(scope), reach = this->reach(scope);
    std::uint64_t multiples = 0;  // bit i: i is a multiple of step
    for (std::int64_t i = 0; i < kMaxTileQueries; i += step) multiples |= std::uint64_t{1} << i;
    bits_by_distance(
        scope, tile, words,
        [=](std::int64_t distance, std::int64_t n) -> std::uint64_t {
          // Query i is at distance - i from the key: i = distance modulo step.
          const std::int64_t rest = distance - first_multiple(distance - step + 1, step);
          if (rest >= kMaxTileQueries) return 0;
          return multiples << rest & bit_range(distance - reach, distance + reach + 1, n);
        },
        [=](std::int64_t query, std::int64_t key) {
          return (key - query) % step == 0 && std::abs(key - query) <= reach;
        });
  }
  std::string to_string() const override {
    const std::string step =
        steps_.size() == 1 ? std::to_string(steps_.front()) : list_text(steps_);
    return "dilated(" + std::to_string(window_) + ", " + step + ")";
  }
  std::int64_t n_heads() const override {
    return steps_.size() == 1 ? 0 : static_cast<std::int64_t>(steps_.size());
  }
  bool same_heads(std::int64_t a, std::int64_t b) const override {
    return step_of(a) == step_of(b);
  }
  void check(const MaskScope& scope) const override { check_head("dilated", n_heads(), scope); }

 private:
  // The least multiple of step that is at least x.
  static std::int64_t first_multiple(std::int64_t x, std::int64_t step) {
    const std::int64_t rest = x % step;
    return rest > 0 ? x - rest + step : x - rest;
  }
  std::int64_t step_of(std::int64_t head) const {
    return steps_[steps_.size() == 1 ? 0 : static_cast<std::size_t>(head)];
  }
  std::int64_t step(const MaskScope& scope) const { return step_of(scope.head); }
  std::int64_t reach(const MaskScope& scope) const {
    return window_ > kFar / step(scope) ? kFar : window_ * step(scope);
  }

  std::int64_t window_;
  std::vector<std::int64_t> steps_;  // one, or one for each head
};

}  // namespace

Mask parse_dilated(RuleArguments& args) {
  const std::int64_t window = args.integer(0, "window");
  return mask::dilated(window, args.integer_or_integers(1, "step"));
}

}  // namespace mask_detail

Mask mask::dilated(std::int64_t window, std::vector<std::int64_t> steps) {
  using mask_detail::fail;
  if (window < 0) {
    fail("dilated", "window is " + std::to_string(window) +
                        ". It must be 0 or more: it counts the keys on each side.");
  }
  if (steps.empty()) fail("dilated", "step is an empty list. Give one step, or one for each head.");
  for (const std::int64_t step : steps) {
    if (step < 1 || step > mask_detail::kFar) {
      fail("dilated", "step is " + std::to_string(step) + ". It must be 1 .. 2^60.");
    }
  }
  return Mask(std::make_shared<mask_detail::Dilated>(window, std::move(steps)));
}

Mask mask::dilated(std::int64_t window, std::int64_t step) {
  return dilated(window, std::vector<std::int64_t>{step});
}

}  // namespace raptly
