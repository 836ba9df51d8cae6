// documents(q_ids, kv_ids): a query sees the keys of its own document: equal ids. Nothing moves, so
// causal & documents(ids) is the usual packed training mask.
#include <memory>
#include <utility>

#include "mask/per_batch.h"
#include "raptly/mask.h"

namespace raptly {
namespace mask_detail {
namespace {

class Documents final : public Rule {
 public:
  Documents(BatchTables q_ids, BatchTables kv_ids)
      : q_ids_(std::move(q_ids)), kv_ids_(std::move(kv_ids)) {}

  bool sees(const MaskScope& scope, std::int64_t query, std::int64_t key) const override {
    return q_ids_.of(scope)[query] == kv_ids_.of(scope)[key];
  }
  TileAnswer answer(const MaskScope& scope, const MaskTile& tile) const override {
    const Range q = q_ids_.of(scope).range(tile.first_query, tile.n_queries);
    const Range kv = kv_ids_.of(scope).range(tile.first_key, tile.n_keys);
    if (q.most < kv.least || kv.most < q.least) return TileAnswer::kEmpty;
    const Range both = join(q, kv);
    return both.least == both.most ? TileAnswer::kFull : TileAnswer::kPartial;
  }
  void bits(const MaskScope& scope, const MaskTile& tile,
            std::span<std::uint64_t> words) const override {
    const RangeTable& q = q_ids_.of(scope);
    const RangeTable& kv = kv_ids_.of(scope);
    for (std::int64_t k = 0; k < tile.n_keys; ++k) {
      const std::int64_t id = kv[tile.first_key + k];
      std::uint64_t word = 0;
      for (std::int64_t i = 0; i < tile.n_queries; ++i) {
        word |= static_cast<std::uint64_t>(q[tile.first_query + i] == id) << i;
      }
      words[static_cast<std::size_t>(k)] = word;
    }
  }
  std::string to_string() const override {
    if (q_ids_ == kv_ids_) return "documents(" + q_ids_.to_string() + ")";
    return "documents(" + q_ids_.to_string() + ", " + kv_ids_.to_string() + ")";
  }
  void check(const MaskScope& scope) const override {
    check_entry("documents", batch(), scope);
    check_size("documents", "q_ids", q_ids_.of(scope).size(), "q_len", scope.q_len);
    check_size("documents", "kv_ids", kv_ids_.of(scope).size(), "kv_len", scope.kv_len);
  }
  std::int64_t batch() const override { return std::max(q_ids_.batch(), kv_ids_.batch()); }

 private:
  BatchTables q_ids_, kv_ids_;
};

}  // namespace

Mask parse_documents(RuleArguments& args) {
  const mask::PerBatch q_ids = args.per_batch(0, "q_ids");
  return mask::documents(q_ids, args.has(1, "kv_ids") ? args.per_batch(1, "kv_ids") : q_ids);
}

}  // namespace mask_detail

Mask mask::documents(const PerBatch& q_ids, const PerBatch& kv_ids) {
  if (!q_ids.is_shared() && !kv_ids.is_shared() && q_ids.rows().size() != kv_ids.rows().size()) {
    mask_detail::fail("documents", "q_ids is for " + std::to_string(q_ids.rows().size()) +
                                       " batch entries, kv_ids for " +
                                       std::to_string(kv_ids.rows().size()) +
                                       ". They must be equal.");
  }
  return Mask(std::make_shared<mask_detail::Documents>(mask_detail::BatchTables(q_ids),
                                                       mask_detail::BatchTables(kv_ids)));
}

Mask mask::documents(const PerBatch& ids) { return documents(ids, ids); }

}  // namespace raptly
