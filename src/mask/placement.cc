#include "mask/placement.h"

#include <utility>

namespace raptly::mask_detail {

RangeTable::RangeTable(std::vector<std::int64_t> values) : values_(std::move(values)) {
  n_leaves_ = (size() + kBlock - 1) / kBlock;
  tree_.resize(static_cast<std::size_t>(2 * n_leaves_));
  for (std::int64_t b = 0; b < n_leaves_; ++b) {
    tree_[static_cast<std::size_t>(n_leaves_ + b)] =
        scan(b * kBlock, std::min(size(), (b + 1) * kBlock));
  }
  for (std::int64_t node = n_leaves_ - 1; node > 0; --node) {
    const auto n = static_cast<std::size_t>(node);
    tree_[n] = join(tree_[2 * n], tree_[2 * n + 1]);
  }
}

Range RangeTable::scan(std::int64_t begin, std::int64_t end) const {
  const auto [least, most] = std::minmax_element(values_.begin() + begin, values_.begin() + end);
  return {*least, *most};
}

Range RangeTable::range(std::int64_t first, std::int64_t n) const {
  const std::int64_t end = first + n;
  std::int64_t left = (first + kBlock - 1) / kBlock, right = end / kBlock;  // whole blocks
  if (left >= right) return scan(first, end);
  Range found = tree_[static_cast<std::size_t>(n_leaves_ + left)];
  if (first < left * kBlock) found = join(found, scan(first, left * kBlock));
  if (right * kBlock < end) found = join(found, scan(right * kBlock, end));
  for (left += n_leaves_, right += n_leaves_; left < right; left /= 2, right /= 2) {
    if (left % 2 == 1) found = join(found, tree_[static_cast<std::size_t>(left++)]);
    if (right % 2 == 1) found = join(found, tree_[static_cast<std::size_t>(--right)]);
  }
  return found;
}

}  // namespace raptly::mask_detail
