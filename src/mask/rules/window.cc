// window(left, right): a query at position p sees the keys p - left .. p + right, both inclusive.
#include <algorithm>
#include <memory>

#include "mask/placement.h"
#include "mask/rule_arguments.h"
#include "raptly/mask.h"

namespace raptly {
namespace mask_detail {
namespace {

using Bound = std::optional<std::int64_t>;

class Window final : public Rule {
 public:
  Window(Bound left, Bound right)
      : left_(left),
        right_(right),
        reach_left_(std::min(left.value_or(kFar), kFar)),
        reach_right_(std::min(right.value_or(kFar), kFar)) {}

  bool sees(const MaskScope& scope, std::int64_t query, std::int64_t key) const override {
    return inside(query_position(scope, query), key_position(scope, key));
  }
  TileAnswer answer(const MaskScope& scope, const MaskTile& tile) const override {
    const Range queries = query_positions(scope, tile), keys = key_positions(scope, tile);
    if (keys.most < queries.least - reach_left_ || keys.least > queries.most + reach_right_) {
      return TileAnswer::kEmpty;
    }
    const bool full =
        keys.least >= queries.most - reach_left_ && keys.most <= queries.least + reach_right_;
    return full ? TileAnswer::kFull : TileAnswer::kPartial;
  }
  void bits(const MaskScope& scope, const MaskTile& tile,
            std::span<std::uint64_t> words) const override {
    // Query i sees the key when distance - right <= i <= distance + left.
    bits_by_distance(
        scope, tile, words,
        [this](std::int64_t distance, std::int64_t n) {
          return bit_range(distance - reach_right_, distance + reach_left_ + 1, n);
        },
        [this](std::int64_t query, std::int64_t key) { return inside(query, key); });
  }
  std::string to_string() const override {
    const auto text = [](Bound bound) { return bound ? std::to_string(*bound) : "None"; };
    return "window(" + text(left_) + ", " + text(right_) + ")";
  }

 private:
  bool inside(std::int64_t query, std::int64_t key) const {
    return query - reach_left_ <= key && key <= query + reach_right_;
  }

  Bound left_, right_;
  std::int64_t reach_left_, reach_right_;
};

void check_bound(const char* name, Bound bound) {
  if (bound && *bound < 0) {
    fail("window", std::string(name) + " is " + std::to_string(*bound) +
                       ". It must be 0 or more; use None for no bound.");
  }
}

}  // namespace

Mask parse_window(RuleArguments& args) {
  const Bound left = args.integer_or_none(0, "left");
  return mask::window(left, args.integer_or_none(1, "right"));
}

Mask parse_mistral(RuleArguments& args) { return mask::mistral(args.integer(0, "size")); }

Mask parse_hf_bidirectional(RuleArguments& args) {
  return mask::hf_bidirectional(args.integer(0, "size"));
}

}  // namespace mask_detail

Mask mask::window(std::optional<std::int64_t> left, std::optional<std::int64_t> right) {
  mask_detail::check_bound("left", left);
  mask_detail::check_bound("right", right);
  return Mask(std::make_shared<mask_detail::Window>(left, right));
}

Mask mask::mistral(std::int64_t size) {
  if (size < 1) {
    mask_detail::fail("mistral", "size is " + std::to_string(size) +
                                     ". It must be 1 or more: it counts the query's own key.");
  }
  return window(size - 1, 0);
}

Mask mask::hf_bidirectional(std::int64_t size) {
  if (size < 0) {
    mask_detail::fail("hf_bidirectional",
                      "size is " + std::to_string(size) +
                          ". It must be 0 or more: it counts the keys on each side.");
  }
  return window(size, size);
}

}  // namespace raptly
