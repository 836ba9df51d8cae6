// a & b, a | b, ~a in three-valued logic: empty < partial < full, & is the least, | the greatest, ~
// swaps the ends. Junctions are flat: (a & b) & c is one node with three rules.
#include <algorithm>
#include <array>
#include <memory>
#include <utility>
#include <vector>

#include "mask/rule.h"
#include "raptly/mask.h"

namespace raptly {
namespace mask_detail {
namespace {

std::string text_within(const RulePtr& rule, Binding outer) {
  if (rule->binding() >= outer) return rule->to_string();
  std::string text = "(";
  return text.append(rule->to_string()).append(")");
}

class Junction final : public Rule {
 public:
  Junction(Binding kind, std::vector<RulePtr> rules) : is_and_(kind == Binding::kAnd) {
    for (const RulePtr& rule : rules) {
      n_rules_ += rule->n_rules();
      depth_ = std::max(depth_, 1 + rule->depth());
      batch_ = std::max(batch_, rule->batch());
      n_heads_ = std::max(n_heads_, rule->n_heads());
      moves_tokens_ |= rule->moves_tokens();
      max_copies_ = std::max(max_copies_, rule->max_copies());
    }
    rules_ = std::move(rules);
  }

  bool sees(const MaskScope& scope, std::int64_t query, std::int64_t key) const override {
    for (const RulePtr& rule : rules_) {
      if (rule->sees(scope, query, key) != is_and_) return !is_and_;
    }
    return is_and_;
  }
  TileAnswer answer(const MaskScope& scope, const MaskTile& tile) const override {
    TileAnswer all = neutral();
    for (const RulePtr& rule : rules_) {
      const TileAnswer one = rule->answer(scope, tile);
      if (one == deciding()) return one;
      if (one == TileAnswer::kPartial) all = one;
    }
    return all;
  }
  void bits(const MaskScope& scope, const MaskTile& tile,
            std::span<std::uint64_t> words) const override {
    const std::uint64_t everyone = bit_range(0, tile.n_queries, tile.n_queries);
    std::fill(words.begin(), words.end(), is_and_ ? everyone : 0);
    std::array<std::uint64_t, kBlockKeys> other;  // NOLINT: written before it is read
    for (const RulePtr& rule : rules_) {
      const TileAnswer one = rule->answer(scope, tile);
      if (one == neutral()) continue;
      if (one == deciding()) return std::fill(words.begin(), words.end(), is_and_ ? 0 : everyone);
      rule->bits(scope, tile, other);
      for (std::size_t k = 0; k < words.size(); ++k) {
        words[k] = is_and_ ? words[k] & other[k] : words[k] | other[k];
      }
    }
  }
  std::string to_string() const override {
    std::string text;
    for (const RulePtr& rule : rules_) {
      if (!text.empty()) text += is_and_ ? " & " : " | ";
      text += text_within(rule, binding());
    }
    return text;
  }
  Binding binding() const override { return is_and_ ? Binding::kAnd : Binding::kOr; }
  bool moves_tokens() const override { return moves_tokens_; }
  MaskScope place(const MaskScope& scope) const override {
    MaskScope placed = scope;
    for (const RulePtr& rule : rules_) placed = rule->place(placed);
    return placed;
  }
  void check(const MaskScope& scope) const override {
    for (const RulePtr& rule : rules_) rule->check(scope);
  }
  std::int64_t batch() const override { return batch_; }
  std::int64_t n_heads() const override { return n_heads_; }
  bool same_heads(std::int64_t a, std::int64_t b) const override {
    return std::all_of(rules_.begin(), rules_.end(),
                       [&](const RulePtr& rule) { return rule->same_heads(a, b); });
  }
  std::int64_t query_block() const override {
    std::int64_t most = 1;
    for (const RulePtr& rule : rules_) most = std::max(most, rule->query_block());
    return most;
  }
  int max_copies() const override { return max_copies_; }
  bool has_globals() const override {
    return std::any_of(rules_.begin(), rules_.end(),
                       [](const RulePtr& rule) { return rule->has_globals(); });
  }
  void add_globals(const MaskScope& scope, std::vector<std::int64_t>& out) const override {
    for (const RulePtr& rule : rules_) rule->add_globals(scope, out);
  }
  int n_rules() const override { return n_rules_; }
  int depth() const override { return depth_; }

  const std::vector<RulePtr>& rules() const { return rules_; }

 private:
  // The answer that changes nothing, and the one that no other rule can change.
  TileAnswer neutral() const { return is_and_ ? TileAnswer::kFull : TileAnswer::kEmpty; }
  TileAnswer deciding() const { return is_and_ ? TileAnswer::kEmpty : TileAnswer::kFull; }

  bool is_and_;
  std::vector<RulePtr> rules_;
  std::int64_t batch_ = 0, n_heads_ = 0;
  int n_rules_ = 1;
  int depth_ = 1;
  int max_copies_ = 1;
  bool moves_tokens_ = false;
};

class Not final : public Rule {
 public:
  explicit Not(RulePtr rule) : rule_(std::move(rule)) {}

  bool sees(const MaskScope& scope, std::int64_t query, std::int64_t key) const override {
    return !rule_->sees(scope, query, key);
  }
  TileAnswer answer(const MaskScope& scope, const MaskTile& tile) const override {
    const TileAnswer one = rule_->answer(scope, tile);
    if (one == TileAnswer::kPartial) return one;
    return one == TileAnswer::kFull ? TileAnswer::kEmpty : TileAnswer::kFull;
  }
  void bits(const MaskScope& scope, const MaskTile& tile,
            std::span<std::uint64_t> words) const override {
    rule_->bits(scope, tile, words);
    const std::uint64_t everyone = bit_range(0, tile.n_queries, tile.n_queries);
    for (std::uint64_t& word : words) word ^= everyone;
  }
  std::string to_string() const override {
    std::string text = "~";
    return text.append(text_within(rule_, Binding::kTight));
  }
  void check(const MaskScope& scope) const override { rule_->check(scope); }
  std::int64_t batch() const override { return rule_->batch(); }
  std::int64_t n_heads() const override { return rule_->n_heads(); }
  bool same_heads(std::int64_t a, std::int64_t b) const override { return rule_->same_heads(a, b); }
  std::int64_t query_block() const override { return rule_->query_block(); }
  int n_rules() const override { return 1 + rule_->n_rules(); }
  int depth() const override { return 1 + rule_->depth(); }

  const RulePtr& rule() const { return rule_; }

 private:
  RulePtr rule_;
};

class NoPair final : public Rule {
 public:
  bool sees(const MaskScope&, std::int64_t, std::int64_t) const override { return false; }
  TileAnswer answer(const MaskScope&, const MaskTile&) const override { return TileAnswer::kEmpty; }
  std::string to_string() const override { return "none"; }
};

void append(const RulePtr& rule, Binding kind, std::vector<RulePtr>& rules) {
  const auto* junction = dynamic_cast<const Junction*>(rule.get());
  if (junction && junction->binding() == kind) {
    rules.insert(rules.end(), junction->rules().begin(), junction->rules().end());
  } else {
    rules.push_back(rule);
  }
}

void check_agree(const char* op, const char* what, std::int64_t a, std::int64_t b) {
  if (a == 0 || b == 0 || a == b) return;
  fail("mask", std::string("the sides of ") + op + " are for " + std::to_string(a) + " and " +
                   std::to_string(b) + " " + what + ". They must agree.");
}

void check_movers(const char* op, Binding kind, const Rule& a, const Rule& b) {
  if (kind == Binding::kOr && (a.moves_tokens() || b.moves_tokens())) {
    fail("mask",
         "a side of | says where tokens stand (lengths, packed or positions). Join it with "
         "& at the top, as in (causal | prefix(4)) & lengths([8], [8]).");
  }
  if (a.moves_tokens() && b.moves_tokens()) {
    fail("mask", std::string("both sides of ") + op +
                     " say where tokens stand. Only one of lengths, packed and positions may be "
                     "given.");
  }
}

// Pairs that count twice would count once below |, and ~ of them says nothing.
void check_copies(const char* op, Binding kind, const Rule& a, const Rule& b) {
  const bool a_counts = a.max_copies() > 1, b_counts = b.max_copies() > 1;
  if ((a_counts || b_counts) && (kind == Binding::kOr || (a_counts && b_counts))) {
    fail("mask", std::string("a side of ") + op +
                     " counts pairs more than once (hf_bigbird). Join it with & only, and only "
                     "one such rule.");
  }
}

RulePtr join(const char* op, Binding kind, const RulePtr& a, const RulePtr& b) {
  if (a->n_rules() + b->n_rules() >= kMaxRules) {
    fail("mask", "the mask would have more than " + std::to_string(kMaxRules) +
                     " rules. That is the most a mask may have.");
  }
  check_movers(op, kind, *a, *b);
  check_copies(op, kind, *a, *b);
  check_agree(op, "batch entries", a->batch(), b->batch());
  check_agree(op, "heads", a->n_heads(), b->n_heads());
  std::vector<RulePtr> rules;
  append(a, kind, rules);
  append(b, kind, rules);
  auto joined = std::make_shared<Junction>(kind, std::move(rules));
  if (joined->depth() > kMaxDepth) {
    fail("mask", "the mask would be more than " + std::to_string(kMaxDepth) +
                     " rules deep. That is the deepest a mask may be.");
  }
  return joined;
}

RulePtr negate(const RulePtr& rule) {
  if (const auto* inner = dynamic_cast<const Not*>(rule.get())) return inner->rule();
  if (rule->moves_tokens()) {
    fail("mask",
         "~ would let padding be seen: its mask says where tokens stand (lengths, packed "
         "or positions). Join that rule with & at the top, as in ~causal & lengths([8], "
         "[8]).");
  }
  if (rule->max_copies() > 1) {
    fail("mask", "~ of a rule that counts pairs more than once (hf_bigbird) says nothing.");
  }
  if (rule->n_rules() + 1 > kMaxRules || rule->depth() + 1 > kMaxDepth) {
    fail("mask", "the mask would have more than " + std::to_string(kMaxRules) +
                     " rules or be more than " + std::to_string(kMaxDepth) + " deep.");
  }
  return std::make_shared<Not>(rule);
}

}  // namespace

class RuleArguments;
Mask parse_all(RuleArguments&) { return Mask(); }
Mask parse_none(RuleArguments&) { return mask::none(); }

}  // namespace mask_detail

Mask mask::none() { return Mask(std::make_shared<mask_detail::NoPair>()); }

Mask operator&(const Mask& a, const Mask& b) {
  if (!a.rule_) return b;
  if (!b.rule_) return a;
  return Mask(mask_detail::join("&", mask_detail::Binding::kAnd, a.rule_, b.rule_));
}

Mask operator|(const Mask& a, const Mask& b) {
  if (!a.rule_) return a;
  if (!b.rule_) return b;
  return Mask(mask_detail::join("|", mask_detail::Binding::kOr, a.rule_, b.rule_));
}

Mask operator~(const Mask& a) {
  if (!a.rule_) return mask::none();
  if (dynamic_cast<const mask_detail::NoPair*>(a.rule())) return Mask();
  return Mask(mask_detail::negate(a.rule_));
}

}  // namespace raptly
