// window(left, right): a query at position p sees the keys p - left .. p + right, both inclusive.
#include <algorithm>
#include <memory>

#include "mask/rule.h"
#include "mask/rule_arguments.h"
#include "raptly/error.h"
#include "raptly/mask.h"

namespace raptly {
namespace mask_detail {
namespace {

using Bound = std::optional<std::int64_t>;

// Farther than any two positions are apart, and far enough from the ends of int64 to add up.
constexpr std::int64_t kFar = std::int64_t{1} << 60;

class Window final : public Rule {
 public:
  Window(Bound left, Bound right)
      : left_(left),
        right_(right),
        reach_left_(std::min(left.value_or(kFar), kFar)),
        reach_right_(std::min(right.value_or(kFar), kFar)) {}

  bool sees(const MaskScope& scope, std::int64_t query, std::int64_t key) const override {
    const std::int64_t position = scope.first_position + query;
    return position - reach_left_ <= key && key <= position + reach_right_;
  }
  TileAnswer answer(const MaskScope& scope, const MaskTile& tile) const override {
    const std::int64_t first = scope.first_position + tile.first_query;
    const std::int64_t last = first + tile.n_queries - 1;
    if (tile.last_key() < first - reach_left_ || tile.first_key > last + reach_right_) {
      return TileAnswer::kEmpty;
    }
    const bool full =
        tile.first_key >= last - reach_left_ && tile.last_key() <= first + reach_right_;
    return full ? TileAnswer::kFull : TileAnswer::kPartial;
  }
  void bits(const MaskScope& scope, const MaskTile& tile,
            std::span<std::uint64_t> words) const override {
    // Query i sees the key when key - right <= position <= key + left.
    const std::int64_t key = tile.first_key - scope.first_position - tile.first_query;
    for (std::int64_t k = 0; k < tile.n_keys; ++k) {
      words[static_cast<std::size_t>(k)] =
          bit_range(key + k - reach_right_, key + k + reach_left_ + 1, tile.n_queries);
    }
  }
  std::string to_string() const override {
    const auto text = [](Bound bound) { return bound ? std::to_string(*bound) : "None"; };
    return "window(" + text(left_) + ", " + text(right_) + ")";
  }

 private:
  Bound left_, right_;
  std::int64_t reach_left_, reach_right_;
};

void check_bound(const char* name, Bound bound) {
  if (bound && *bound < 0) {
    throw Error(ErrorCode::kInvalidArgument, std::string("[window] ") + name + " is " +
                                                 std::to_string(*bound) +
                                                 ". It must be 0 or more; use None for no bound.");
  }
}

}  // namespace

Mask parse_window(RuleArguments& args) {
  const Bound left = args.integer_or_none(0, "left");
  return mask::window(left, args.integer_or_none(1, "right"));
}

Mask parse_mistral(RuleArguments& args) { return mask::mistral(args.integer(0, "size")); }

}  // namespace mask_detail

Mask mask::window(std::optional<std::int64_t> left, std::optional<std::int64_t> right) {
  mask_detail::check_bound("left", left);
  mask_detail::check_bound("right", right);
  return Mask(std::make_shared<mask_detail::Window>(left, right));
}

Mask mask::mistral(std::int64_t size) {
  if (size < 1) {
    throw Error(ErrorCode::kInvalidArgument,
                "[mistral] size is " + std::to_string(size) +
                    ". It must be 1 or more: it counts the query's own key.");
  }
  return window(size - 1, 0);
}

}  // namespace raptly
