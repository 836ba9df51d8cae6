// positions(q_positions, kv_positions): where the tokens stand, when it is not at their ordinals
// (position ids that restart, left padding, gaps). Sees every pair; causal, window, prefix,
// chunked, global_tokens and dilated then count these positions. Tiles keep their ordinals.
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "mask/per_batch.h"
#include "raptly/mask.h"

namespace raptly {
namespace mask_detail {
namespace {

class Listed final : public Placement {
 public:
  Listed(RangeTable q, std::optional<RangeTable> kv) : q_(std::move(q)), kv_(std::move(kv)) {}

  std::int64_t query_position(std::int64_t query) const override { return q_[query]; }
  std::int64_t key_position(std::int64_t key) const override { return kv_ ? (*kv_)[key] : key; }
  Range query_positions(std::int64_t first, std::int64_t n) const override {
    return q_.range(first, n);
  }
  Range key_positions(std::int64_t first, std::int64_t n) const override {
    return kv_ ? kv_->range(first, n) : Range{first, first + n - 1};
  }
  std::int64_t q_size() const { return q_.size(); }
  std::optional<std::int64_t> kv_size() const {
    return kv_ ? std::optional(kv_->size()) : std::nullopt;
  }

 private:
  RangeTable q_;
  std::optional<RangeTable> kv_;
};

class Positions final : public Rule {
 public:
  Positions(mask::PerBatch q, std::optional<mask::PerBatch> kv)
      : q_(std::move(q)), kv_(std::move(kv)) {
    const bool shared = q_.is_shared() && (!kv_ || kv_->is_shared());
    const std::size_t n = std::max(q_.rows().size(), kv_ ? kv_->rows().size() : 1);
    batch_ = shared ? 0 : static_cast<std::int64_t>(n);
    for (std::size_t b = 0; b < n; ++b) {
      std::optional<RangeTable> keys;
      if (kv_) keys.emplace(kv_->of(static_cast<std::int64_t>(b)));
      entries_.emplace_back(RangeTable(q_.of(static_cast<std::int64_t>(b))), std::move(keys));
    }
  }

  bool sees(const MaskScope&, std::int64_t, std::int64_t) const override { return true; }
  TileAnswer answer(const MaskScope&, const MaskTile&) const override { return TileAnswer::kFull; }
  std::string to_string() const override {
    return "positions(" + list_text(q_) + (kv_ ? ", " + list_text(*kv_) + ")" : ")");
  }
  bool moves_tokens() const override { return true; }
  MaskScope place(const MaskScope& scope) const override {
    check_entry("positions", batch_, scope);
    const Listed& entry = entries_[batch_ == 0 ? 0 : static_cast<std::size_t>(scope.batch)];
    check_size("positions", "q_positions", entry.q_size(), "q_len", scope.q_len);
    check_size("positions", "kv_positions", entry.kv_size().value_or(scope.kv_len), "kv_len",
               scope.kv_len);
    MaskScope placed = scope;
    placed.placement = &entry;
    return placed;
  }
  std::int64_t batch() const override { return batch_; }

 private:
  mask::PerBatch q_;
  std::optional<mask::PerBatch> kv_;
  std::int64_t batch_ = 0;
  std::vector<Listed> entries_;
};

}  // namespace

Mask parse_positions(RuleArguments& args) {
  const mask::PerBatch q = args.per_batch(0, "q_positions");
  if (!args.has(1, "kv_positions")) return mask::positions(q);
  return mask::positions(q, args.per_batch(1, "kv_positions"));
}

}  // namespace mask_detail

Mask mask::positions(const PerBatch& q_positions, const std::optional<PerBatch>& kv_positions) {
  using mask_detail::kMaxPosition;
  mask_detail::check_values("positions", "q_positions", q_positions, -kMaxPosition, kMaxPosition);
  if (kv_positions) {
    mask_detail::check_values("positions", "kv_positions", *kv_positions, -kMaxPosition,
                              kMaxPosition);
    const std::size_t a = q_positions.rows().size(), b = kv_positions->rows().size();
    if (!q_positions.is_shared() && !kv_positions->is_shared() && a != b) {
      mask_detail::fail("positions", "q_positions is for " + std::to_string(a) +
                                         " batch entries, kv_positions for " + std::to_string(b) +
                                         ". They must be equal.");
    }
  }
  return Mask(std::make_shared<mask_detail::Positions>(q_positions, kv_positions));
}

}  // namespace raptly
