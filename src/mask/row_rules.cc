#include "mask/row_rules.h"

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <utility>

#include "mask/placement.h"
#include "mask/rule.h"

namespace raptly {
namespace mask_detail {
namespace {

// A rule asked for the queries of some rows; what it has in common for both uses.
class RowRule : public Rule {
 public:
  RowRule(Mask mask, QueryLists queries) : mask_(std::move(mask)), queries_(std::move(queries)) {}

  std::string to_string() const override { return inner().to_string(); }
  Binding binding() const override { return inner().binding(); }
  bool moves_tokens() const override { return inner().moves_tokens(); }
  std::int64_t batch() const override { return inner().batch(); }
  std::int64_t n_heads() const override { return inner().n_heads(); }
  int max_copies() const override { return inner().max_copies(); }
  bool same_heads(std::int64_t a, std::int64_t b) const override {
    return inner().same_heads(a, b);
  }
  int n_rules() const override { return inner().n_rules(); }
  int depth() const override { return inner().depth(); }

 protected:
  const Rule& inner() const { return *mask_.rule(); }
  const std::vector<std::int64_t>& queries(const MaskScope& scope) const {
    return queries_[entry(scope)];
  }
  std::size_t entry(const MaskScope& scope) const {
    return queries_.size() == 1 ? 0 : static_cast<std::size_t>(scope.batch);
  }

 private:
  Mask mask_;
  QueryLists queries_;
};

// The bits of a tile whatever the answer is.
void bits_of_answer(const Rule& rule, const MaskScope& scope, const MaskTile& tile,
                    std::span<std::uint64_t> words) {
  const TileAnswer answer = rule.answer(scope, tile);
  if (answer == TileAnswer::kPartial) return rule.bits(scope, tile, words);
  const std::uint64_t everyone = bit_range(0, tile.n_queries, tile.n_queries);
  std::fill(words.begin(), words.end(), answer == TileAnswer::kFull ? everyone : 0);
}

class HiddenQueries final : public RowRule {
 public:
  using RowRule::RowRule;

  bool sees(const MaskScope& scope, std::int64_t query, std::int64_t key) const override {
    const auto& rows = queries(scope);
    return !std::binary_search(rows.begin(), rows.end(), query) && inner().sees(scope, query, key);
  }
  TileAnswer answer(const MaskScope& scope, const MaskTile& tile) const override {
    const auto [begin, end] = hidden(scope, tile);
    if (end - begin == tile.n_queries) return TileAnswer::kEmpty;
    const TileAnswer all = inner().answer(scope, tile);
    return all == TileAnswer::kFull && begin != end ? TileAnswer::kPartial : all;
  }
  void bits(const MaskScope& scope, const MaskTile& tile,
            std::span<std::uint64_t> words) const override {
    bits_of_answer(inner(), scope, tile, words);
    std::uint64_t visible = ~std::uint64_t{0};
    const auto [begin, end] = hidden(scope, tile);
    for (auto row = begin; row != end; ++row) {
      visible &= ~(std::uint64_t{1} << (*row - tile.first_query));
    }
    for (std::uint64_t& word : words) word &= visible;
  }
  MaskScope place(const MaskScope& scope) const override { return inner().place(scope); }
  void check(const MaskScope& scope) const override { inner().check(scope); }

 private:
  using Row = std::vector<std::int64_t>::const_iterator;
  std::pair<Row, Row> hidden(const MaskScope& scope, const MaskTile& tile) const {
    const auto& rows = queries(scope);
    return {std::lower_bound(rows.begin(), rows.end(), tile.first_query),
            std::upper_bound(rows.begin(), rows.end(), tile.last_query())};
  }
};

// Where selected queries stand: where they stood before.
class SelectedPlacement final : public Placement {
 public:
  SelectedPlacement(const MaskScope& scope, const std::vector<std::int64_t>& queries)
      : scope_(scope), queries_(queries) {}

  std::int64_t query_position(std::int64_t query) const override {
    return mask_detail::query_position(scope_, at(query));
  }
  std::int64_t key_position(std::int64_t key) const override {
    return mask_detail::key_position(scope_, key);
  }
  Range query_positions(std::int64_t first, std::int64_t n) const override {
    Range range{query_position(first), query_position(first)};
    for (std::int64_t i = first + 1; i < first + n; ++i) {
      range = join(range, {query_position(i), query_position(i)});
    }
    return range;
  }
  Range key_positions(std::int64_t first, std::int64_t n) const override {
    return mask_detail::key_positions(scope_, {0, 1, first, n});
  }
  bool is_one_sequence() const override {
    return !scope_.placement || scope_.placement->is_one_sequence();
  }

 private:
  std::int64_t at(std::int64_t query) const { return queries_[static_cast<std::size_t>(query)]; }

  MaskScope scope_;
  const std::vector<std::int64_t>& queries_;
};

class SelectedQueries final : public RowRule {
 public:
  SelectedQueries(Mask mask, QueryLists lists, const MaskLengths& lengths)
      : RowRule(std::move(mask), std::move(lists)) {
    for (std::int64_t b = 0; b < lengths.entries; ++b) {
      const MaskScope scope = lengths.scope(b);
      scopes_.push_back(inner().place(scope));
      places_.push_back(std::make_unique<SelectedPlacement>(scopes_.back(), queries(scope)));
    }
  }

  bool sees(const MaskScope& scope, std::int64_t query, std::int64_t key) const override {
    return inner().sees(whole(scope), row(scope, query), key);
  }
  TileAnswer answer(const MaskScope& scope, const MaskTile& tile) const override {
    const MaskScope all = whole(scope);
    bool any_full = false, any_empty = false;
    for (std::int64_t i = tile.first_query; i <= tile.last_query(); ++i) {
      const TileAnswer one = inner().answer(all, {row(scope, i), 1, tile.first_key, tile.n_keys});
      any_full |= one != TileAnswer::kEmpty;
      any_empty |= one != TileAnswer::kFull;
      if (any_full && any_empty) return TileAnswer::kPartial;
    }
    return any_full ? TileAnswer::kFull : TileAnswer::kEmpty;
  }
  void bits(const MaskScope& scope, const MaskTile& tile,
            std::span<std::uint64_t> words) const override {
    const MaskScope all = whole(scope);
    std::array<std::uint64_t, kBlockKeys> one;  // NOLINT: written before it is read
    const std::span<std::uint64_t> of_row(one.data(), words.size());
    std::fill(words.begin(), words.end(), 0);
    for (std::int64_t i = 0; i < tile.n_queries; ++i) {
      bits_of_answer(inner(), all,
                     {row(scope, tile.first_query + i), 1, tile.first_key, tile.n_keys}, of_row);
      for (std::size_t k = 0; k < words.size(); ++k) words[k] |= of_row[k] << i;
    }
  }
  bool moves_tokens() const override { return true; }
  MaskScope place(const MaskScope& scope) const override {
    MaskScope placed = scope;
    placed.placement = places_[entry(scope)].get();
    placed.sequence_kv_len = scopes_[entry(scope)].sequence_kv_len;
    return placed;
  }
  void check(const MaskScope& scope) const override { inner().check(whole(scope)); }

 private:
  // The placed scope of the whole call.
  MaskScope whole(const MaskScope& scope) const {
    MaskScope all = scopes_[entry(scope)];
    all.head = scope.head;
    all.copy = scope.copy;
    return all;
  }
  std::int64_t row(const MaskScope& scope, std::int64_t query) const {
    return queries(scope)[static_cast<std::size_t>(query)];
  }

  std::vector<MaskScope> scopes_;
  std::vector<std::unique_ptr<SelectedPlacement>> places_;
};

}  // namespace
}  // namespace mask_detail

bool has_global_tokens(const Mask& mask) { return mask.rule() && mask.rule()->has_globals(); }

QueryLists global_queries(const Mask& mask, const MaskLengths& lengths) {
  QueryLists lists(static_cast<std::size_t>(lengths.entries));
  if (!has_global_tokens(mask)) return lists;
  for (std::int64_t b = 0; b < lengths.entries; ++b) {
    std::vector<std::int64_t>& list = lists[static_cast<std::size_t>(b)];
    mask.rule()->add_globals(mask_detail::place_mask(mask, lengths.scope(b)), list);
    std::sort(list.begin(), list.end());
    list.erase(std::unique(list.begin(), list.end()), list.end());
  }
  return lists;
}

Mask hide_queries(const Mask& mask, QueryLists queries) {
  return Mask(std::make_shared<mask_detail::HiddenQueries>(mask, std::move(queries)));
}

Mask select_queries(const Mask& mask, QueryLists queries, const MaskLengths& lengths) {
  return Mask(std::make_shared<mask_detail::SelectedQueries>(mask, std::move(queries), lengths));
}

}  // namespace raptly
