// tree(parents): a tree of drafted tokens (speculative decoding). The queries are the nodes, and
// the last keys are the same nodes; the keys before them are the context. Node i sees the context,
// itself and its ancestors. parents[i] is a node, or -1 for one that follows the context. Nodes may
// come in any order.
#include <memory>
#include <utility>
#include <vector>

#include "mask/per_batch.h"
#include "raptly/mask.h"

namespace raptly {
namespace mask_detail {
namespace {

// A walk in depth enters node i as number enter[i] and has left its subtree before leave[i]: j is
// an ancestor of i, or i, exactly when enter[j] <= enter[i] < leave[j].
struct Tree {
  std::vector<std::int64_t> enter, leave;

  bool reaches(std::int64_t ancestor, std::int64_t node) const {
    const auto a = static_cast<std::size_t>(ancestor), n = static_cast<std::size_t>(node);
    return enter[a] <= enter[n] && enter[n] < leave[a];
  }
};

Tree make_tree(const std::vector<std::int64_t>& parents, const std::string& name) {
  const std::size_t n = parents.size();
  std::vector<std::vector<std::int64_t>> children(n + 1);  // of node i - 1; 0: the roots
  for (std::size_t i = 0; i < n; ++i) {
    children[static_cast<std::size_t>(parents[i] + 1)].push_back(static_cast<std::int64_t>(i));
  }
  Tree tree{std::vector<std::int64_t>(n), std::vector<std::int64_t>(n, -1)};
  std::int64_t clock = 0;
  std::vector<std::pair<std::size_t, std::size_t>> path = {{0, 0}};  // children of, next child
  while (!path.empty()) {
    auto& [node, next] = path.back();
    if (next == children[node].size()) {
      if (node > 0) tree.leave[node - 1] = clock;
      path.pop_back();
      continue;
    }
    const std::int64_t child = children[node][next++];
    tree.enter[static_cast<std::size_t>(child)] = clock++;
    path.emplace_back(static_cast<std::size_t>(child) + 1, 0);
  }
  for (std::size_t i = 0; i < n; ++i) {
    if (tree.leave[i] >= 0) continue;
    fail("tree", name + "[" + std::to_string(i) + "] is " + std::to_string(parents[i]) +
                     ", which leads round in a circle. A tree has no cycles.");
  }
  return tree;
}

class TreeRule final : public Rule {
 public:
  explicit TreeRule(mask::PerBatch parents) : parents_(std::move(parents)) {
    for (std::size_t b = 0; b < parents_.rows().size(); ++b) {
      trees_.push_back(make_tree(parents_.rows()[b], "parents" + entry_text(parents_, b)));
    }
  }

  bool sees(const MaskScope& scope, std::int64_t query, std::int64_t key) const override {
    const std::int64_t node = key - context(scope);
    return node < 0 || (node < n_nodes(scope) && tree(scope).reaches(node, query));
  }
  TileAnswer answer(const MaskScope& scope, const MaskTile& tile) const override {
    return tile.last_key() < context(scope) ? TileAnswer::kFull : TileAnswer::kPartial;
  }
  std::string to_string() const override { return "tree(" + list_text(parents_) + ")"; }
  void check(const MaskScope& scope) const override {
    check_entry("tree", batch(), scope);
    check_size("tree", "parents", n_nodes(scope), "q_len", scope.q_len);
    if (scope.placement && !scope.placement->is_one_sequence()) {
      fail("tree",
           "its nodes are the last keys of one sequence. It does not go with packed; use a "
           "batch with lengths.");
    }
    if (context(scope) < 0) {
      const std::int64_t keys = scope.sequence_kv_len.value_or(scope.kv_len);
      fail("tree", "kv_len is " + std::to_string(keys) + ", parents has " +
                       std::to_string(keys - context(scope)) +
                       " entries. The last keys are the nodes of the tree.");
    }
  }
  std::int64_t batch() const override {
    return parents_.is_shared() ? 0 : static_cast<std::int64_t>(trees_.size());
  }

 private:
  // Keys before the nodes: lengths put the last key where the sequence ends.
  static std::int64_t context(const MaskScope& scope) {
    return scope.sequence_kv_len ? scope.first_position : scope.kv_len - scope.q_len;
  }
  std::int64_t n_nodes(const MaskScope& scope) const {
    return static_cast<std::int64_t>(tree(scope).enter.size());
  }
  const Tree& tree(const MaskScope& scope) const {
    return trees_[parents_.is_shared() ? 0 : static_cast<std::size_t>(scope.batch)];
  }

  mask::PerBatch parents_;
  std::vector<Tree> trees_;
};

}  // namespace

Mask parse_tree(RuleArguments& args) { return mask::tree(args.per_batch(0, "parents")); }

}  // namespace mask_detail

Mask mask::tree(const PerBatch& parents) {
  for (const std::vector<std::int64_t>& row : parents.rows()) {
    const auto n = static_cast<std::int64_t>(row.size());
    for (std::size_t i = 0; i < row.size(); ++i) {
      if (row[i] >= -1 && row[i] < n) continue;
      mask_detail::fail("tree", "parents[" + std::to_string(i) + "] is " + std::to_string(row[i]) +
                                    ". It must be -1 .. " + std::to_string(n - 1) +
                                    ": a node, or -1 for none.");
    }
  }
  return Mask(std::make_shared<mask_detail::TreeRule>(parents));
}

}  // namespace raptly
