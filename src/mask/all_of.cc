// a & b: a pair is seen when every rule sees it. Flat: (a & b) & c is one node with three rules.
#include <algorithm>
#include <array>
#include <memory>
#include <utility>
#include <vector>

#include "mask/rule.h"
#include "raptly/error.h"
#include "raptly/mask.h"

namespace raptly {
namespace mask_detail {
namespace {

using RulePtr = std::shared_ptr<const Rule>;

class AllOf final : public Rule {
 public:
  explicit AllOf(std::vector<RulePtr> rules) : rules_(std::move(rules)) {
    for (const RulePtr& rule : rules_) {
      n_rules_ += rule->n_rules();
      depth_ = std::max(depth_, 1 + rule->depth());
      batch_ = std::max(batch_, rule->batch());
      moves_queries_ |= rule->moves_queries();
    }
  }

  bool sees(const MaskScope& scope, std::int64_t query, std::int64_t key) const override {
    return std::all_of(rules_.begin(), rules_.end(),
                       [&](const RulePtr& rule) { return rule->sees(scope, query, key); });
  }
  TileAnswer answer(const MaskScope& scope, const MaskTile& tile) const override {
    TileAnswer all = TileAnswer::kFull;
    for (const RulePtr& rule : rules_) {
      all = std::min(all, rule->answer(scope, tile));
      if (all == TileAnswer::kEmpty) break;
    }
    return all;
  }
  void bits(const MaskScope& scope, const MaskTile& tile,
            std::span<std::uint64_t> words) const override {
    rules_.front()->bits(scope, tile, words);
    std::array<std::uint64_t, kBlockKeys> other;  // NOLINT: written before it is read
    for (std::size_t r = 1; r < rules_.size(); ++r) {
      rules_[r]->bits(scope, tile, other);
      for (std::size_t k = 0; k < words.size(); ++k) words[k] &= other[k];
    }
  }
  std::string to_string() const override {
    std::string text;
    for (const RulePtr& rule : rules_) text += (text.empty() ? "" : " & ") + rule->to_string();
    return text;
  }
  MaskScope place(const MaskScope& scope) const override {
    MaskScope placed = scope;
    for (const RulePtr& rule : rules_) placed = rule->place(placed);
    return placed;
  }
  bool moves_queries() const override { return moves_queries_; }
  std::int64_t batch() const override { return batch_; }
  int n_rules() const override { return n_rules_; }
  int depth() const override { return depth_; }

  const std::vector<RulePtr>& rules() const { return rules_; }

 private:
  std::vector<RulePtr> rules_;
  std::int64_t batch_ = 0;
  int n_rules_ = 1;
  int depth_ = 1;
  bool moves_queries_ = false;
};

void append(const RulePtr& rule, std::vector<RulePtr>& rules) {
  if (const auto* all_of = dynamic_cast<const AllOf*>(rule.get())) {
    rules.insert(rules.end(), all_of->rules().begin(), all_of->rules().end());
  } else {
    rules.push_back(rule);
  }
}

[[noreturn]] void fail(const std::string& message) {
  throw Error(ErrorCode::kInvalidArgument, "[mask] " + message);
}

}  // namespace
}  // namespace mask_detail

Mask operator&(const Mask& a, const Mask& b) {
  using mask_detail::fail;
  if (!a.rule()) return b;
  if (!b.rule()) return a;
  if (a.rule_->n_rules() + b.rule_->n_rules() >= mask_detail::kMaxRules) {
    fail("the mask would have more than " + std::to_string(mask_detail::kMaxRules) +
         " rules. That is the most a mask may have.");
  }
  if (a.rule_->moves_queries() && b.rule_->moves_queries()) {
    fail("both sides of & say where the queries stand. Only one lengths() may be given.");
  }
  const std::int64_t a_batch = a.rule_->batch(), b_batch = b.rule_->batch();
  if (a_batch != 0 && b_batch != 0 && a_batch != b_batch) {
    fail("the sides of & are for " + std::to_string(a_batch) + " and " + std::to_string(b_batch) +
         " batch entries. They must agree.");
  }
  std::vector<mask_detail::RulePtr> rules;
  mask_detail::append(a.rule_, rules);
  mask_detail::append(b.rule_, rules);
  return Mask(std::make_shared<mask_detail::AllOf>(std::move(rules)));
}

}  // namespace raptly
