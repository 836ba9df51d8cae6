// global_tokens(positions): a global token sees every key, and every query sees it. Joined with |,
// as in window(256, 256) | global_tokens([0]).
#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "mask/per_batch.h"
#include "raptly/mask.h"

namespace raptly {
namespace mask_detail {
namespace {

class GlobalTokens final : public Rule {
 public:
  explicit GlobalTokens(mask::PerBatch positions) : positions_(std::move(positions)) {}

  bool sees(const MaskScope& scope, std::int64_t query, std::int64_t key) const override {
    return is_global(scope, query_position(scope, query)) ||
           is_global(scope, key_position(scope, key));
  }
  TileAnswer answer(const MaskScope& scope, const MaskTile& tile) const override {
    const Range queries = query_positions(scope, tile), keys = key_positions(scope, tile);
    const std::int64_t q = count(scope, queries), kv = count(scope, keys);
    if (q == 0 && kv == 0) return TileAnswer::kEmpty;
    const bool full = q == queries.most - queries.least + 1 || kv == keys.most - keys.least + 1;
    return full ? TileAnswer::kFull : TileAnswer::kPartial;
  }
  void bits(const MaskScope& scope, const MaskTile& tile,
            std::span<std::uint64_t> words) const override {
    const std::uint64_t everyone = bit_range(0, tile.n_queries, tile.n_queries);
    std::uint64_t global_queries = 0;
    for (std::int64_t i = 0; i < tile.n_queries; ++i) {
      const bool global = is_global(scope, query_position(scope, tile.first_query + i));
      global_queries |= static_cast<std::uint64_t>(global) << i;
    }
    for (std::int64_t k = 0; k < tile.n_keys; ++k) {
      const bool global = is_global(scope, key_position(scope, tile.first_key + k));
      words[static_cast<std::size_t>(k)] = global ? everyone : global_queries;
    }
  }
  std::string to_string() const override { return "global_tokens(" + list_text(positions_) + ")"; }
  void check(const MaskScope& scope) const override {
    check_entry("global_tokens", batch(), scope);
  }
  bool has_globals() const override { return true; }
  void add_globals(const MaskScope& scope, std::vector<std::int64_t>& out) const override {
    if (!scope.placement) {
      for (const std::int64_t position : positions_.of(scope.batch)) {
        const std::int64_t query = position - scope.first_position;
        if (query >= 0 && query < scope.q_len) out.push_back(query);
      }
      return;
    }
    for (std::int64_t query = 0; query < scope.q_len; ++query) {
      if (is_global(scope, query_position(scope, query))) out.push_back(query);
    }
  }
  std::int64_t batch() const override {
    return positions_.is_shared() ? 0 : static_cast<std::int64_t>(positions_.rows().size());
  }

 private:
  bool is_global(const MaskScope& scope, std::int64_t position) const {
    const std::vector<std::int64_t>& sorted = positions_.of(scope.batch);
    return std::binary_search(sorted.begin(), sorted.end(), position);
  }
  std::int64_t count(const MaskScope& scope, Range range) const {
    const std::vector<std::int64_t>& sorted = positions_.of(scope.batch);
    return std::upper_bound(sorted.begin(), sorted.end(), range.most) -
           std::lower_bound(sorted.begin(), sorted.end(), range.least);
  }

  mask::PerBatch positions_;  // each list sorted, every position once
};

std::vector<std::int64_t> sorted_once(std::vector<std::int64_t> positions) {
  std::sort(positions.begin(), positions.end());
  positions.erase(std::unique(positions.begin(), positions.end()), positions.end());
  return positions;
}

}  // namespace

Mask parse_global_tokens(RuleArguments& args) {
  return mask::global_tokens(args.per_batch(0, "positions"));
}

}  // namespace mask_detail

Mask mask::global_tokens(const PerBatch& positions) {
  mask_detail::check_values("global_tokens", "positions", positions, 0, mask_detail::kMaxPosition);
  std::vector<std::vector<std::int64_t>> rows;
  for (const auto& row : positions.rows()) rows.push_back(mask_detail::sorted_once(row));
  PerBatch sorted =
      positions.is_shared() ? PerBatch(std::move(rows[0])) : PerBatch(std::move(rows));
  return Mask(std::make_shared<mask_detail::GlobalTokens>(std::move(sorted)));
}

}  // namespace raptly
