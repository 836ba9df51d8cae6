#include "attention/head_sets.h"

#include <algorithm>

#include "mask/rule.h"

namespace raptly {
namespace {

bool same_heads(const Mask& mask, std::int64_t a, std::int64_t b) {
  return !mask.rule() || mask.rule()->same_heads(a, b);
}

}  // namespace

HeadSets head_sets(const Mask& mask, std::int64_t n_heads, std::int64_t n_kv_heads) {
  if (n_heads == 0) return {};
  const std::int64_t group = n_heads / n_kv_heads;
  for (std::int64_t h = 0; h < n_heads; ++h) {
    if (!same_heads(mask, h / group * group, h)) return {n_heads, 1};
  }
  return {n_kv_heads, group};
}

std::vector<std::int64_t> heads_to_plan(const Mask& mask, const HeadSets& heads) {
  std::vector<std::int64_t> first;
  for (std::int64_t set = 0; set < heads.n_sets; ++set) {
    const std::int64_t head = set * heads.heads_per_set;
    std::int64_t like = 0;
    while (!same_heads(mask, like, head)) like += heads.heads_per_set;
    first.push_back(like);
  }
  const bool all_same = std::all_of(first.begin(), first.end(), [](auto h) { return h == 0; });
  return all_same ? std::vector<std::int64_t>{0} : first;
}

}  // namespace raptly
