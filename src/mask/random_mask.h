// Random masks and scopes for property tests: every rule of the table, in random trees.
#pragma once

#include <rapidcheck.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "mask/rule.h"
#include "raptly/mask.h"

namespace raptly::mask_testing {

constexpr std::int64_t kBatch = 3, kHeads = 4;  // what the lists of random masks are for

inline std::int64_t number(std::int64_t least, std::int64_t most) {
  return *rc::gen::inRange<std::int64_t>(least, most + 1);
}

inline MaskScope random_scope(std::int64_t max_len) {
  MaskScope scope;
  scope.batch = number(0, kBatch - 1);
  scope.head = number(0, kHeads - 1);
  scope.q_len = number(0, max_len);
  scope.kv_len = number(0, max_len);
  scope.first_position =
      number(0, 3) > 0 ? scope.kv_len - scope.q_len : number(-max_len, 2 * max_len);
  return scope;
}

inline std::optional<std::int64_t> random_bound(std::int64_t max_len) {
  const std::int64_t kind = number(0, 5);
  if (kind == 0) return std::nullopt;
  return number(0, kind < 4 ? max_len / 4 : 2 * max_len);
}

// n numbers least .. most in stretches of random length, or ascending.
inline std::vector<std::int64_t> random_list(std::int64_t n, std::int64_t least,
                                             std::int64_t most) {
  std::vector<std::int64_t> list;
  const bool ascending = number(0, 1) == 0;
  while (std::ssize(list) < n) {
    list.insert(list.end(), static_cast<std::size_t>(number(1, std::max<std::int64_t>(1, n / 2))),
                number(least, most));
  }
  list.resize(static_cast<std::size_t>(n));
  if (ascending) std::sort(list.begin(), list.end());
  return list;
}

inline mask::PerBatch random_lists(std::int64_t n, std::int64_t least, std::int64_t most) {
  if (number(0, 1) == 0) return random_list(n, least, most);
  std::vector<std::vector<std::int64_t>> rows;
  for (std::int64_t b = 0; b < kBatch; ++b) rows.push_back(random_list(n, least, most));
  return rows;
}

inline mask::BlockList random_block_list(const MaskScope& scope, std::int64_t size) {
  mask::BlockList lists;
  for (std::int64_t a = 0; a * size < scope.q_len; ++a) {
    lists.emplace_back();
    const std::int64_t most = number(0, 4);
    for (std::int64_t b = 0; b * size < scope.kv_len; ++b) {
      if (number(0, 4) < most) lists.back().push_back(b);
    }
  }
  return lists;
}

inline Mask random_blocks(const MaskScope& scope) {
  const std::int64_t size = number(1, 2) == 1 ? 64 : number(9, 200);
  if (number(0, 1) == 0) return mask::blocks(size, random_block_list(scope, size));
  std::vector<mask::BlockList> heads;
  for (std::int64_t h = 0; h < kHeads; ++h) heads.push_back(random_block_list(scope, size));
  return mask::blocks(size, heads);
}

inline Mask random_tree(const MaskScope& scope) {
  if (scope.kv_len < scope.q_len) return mask::causal();
  std::vector<std::int64_t> parents;
  for (std::int64_t i = 0; i < scope.q_len; ++i) parents.push_back(number(-1, i - 1));
  return mask::tree(parents);
}

inline Mask random_media(const MaskScope& scope) {
  const std::int64_t tokens = number(1, 100);
  const auto mode = number(0, 1) == 0 ? mask::MediaMode::kImmediate : mask::MediaMode::kAllPrevious;
  return mask::media(random_lists(scope.q_len, 0, scope.kv_len / tokens), tokens, mode);
}

inline Mask random_dense(const MaskScope& scope) {
  mask::DenseShape shape{number(0, 1) == 0 ? 1 : kBatch, number(0, 1) == 0 ? 1 : kHeads,
                         number(0, 2) == 0 ? 1 : scope.q_len, number(0, 3) == 0 ? 1 : scope.kv_len};
  const std::int64_t pairs = shape.batch * shape.n_heads * shape.q_len * shape.kv_len;
  std::vector<std::uint8_t> seen;
  std::uint64_t state = static_cast<std::uint64_t>(number(1, 1 << 20));  // gen is slow for many
  const std::uint64_t share = static_cast<std::uint64_t>(number(0, 8));
  for (std::int64_t i = 0; i < pairs; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    seen.push_back(state >> 61 < share ? 1 : 0);
  }
  return mask::dense(seen, shape);
}

inline Mask random_bigbird() {
  mask::BigBirdOptions options;
  options.block_size = number(1, 80);
  options.num_random_blocks = number(0, 5);
  options.seed = number(0, 1000);
  if (number(0, 1) == 0) {
    options.layout = mask::BigBirdLayout::kEtc;
    options.num_global_tokens = number(0, 150);
  }
  return mask::bigbird(options);
}

inline Mask random_longformer(std::int64_t max_len) {
  const std::int64_t window = 2 * number(0, max_len / 4);
  if (number(0, 1) == 0) return mask::longformer(window, random_lists(2, 0, max_len), {1, 2, 1, 3});
  return mask::longformer(window, random_lists(number(0, 3), 0, max_len));
}

// What the rule that says where tokens stand leaves room for: bigbird counts blocks of one
// sequence, the nodes of a tree are its last keys.
struct Companions {
  bool bigbird = true, tree = true;
};

// One rule that says nothing of where tokens stand.
inline Mask random_leaf(const MaskScope& scope, Companions with) {
  const std::int64_t max_len = std::max(scope.q_len, scope.kv_len) + 1;
  switch (number(0, with.bigbird ? 14 : 13)) {
    case 0:
      return mask::causal(number(0, 1) == 0 ? mask::Corner::kTopLeft : mask::Corner::kBottomRight);
    case 1: {
      const auto left = random_bound(max_len);
      return mask::window(left, random_bound(max_len));
    }
    case 2:
      return mask::mistral(number(1, max_len));
    case 3:
      return number(0, 3) == 0 ? mask::none() : Mask();
    case 4:
      return mask::prefix(number(0, max_len));
    case 5:
      return mask::chunked(number(1, max_len));
    case 6:
      return mask::global_tokens(random_lists(number(0, 5), 0, max_len));
    case 7:
      return mask::dilated(number(0, max_len / 4), number(1, 9));
    case 8:
      return mask::documents(random_lists(scope.q_len, 0, 5), random_lists(scope.kv_len, 0, 5));
    case 9:
      return mask::padding(random_lists(scope.kv_len, 0, 1));
    case 10:
      return random_blocks(scope);
    case 11:
      return with.tree && number(0, 1) == 0 ? random_tree(scope) : random_media(scope);
    case 12:
      return random_dense(scope);
    case 13:
      return random_longformer(max_len);
    default:
      return random_bigbird();
  }
}

inline Mask random_tree_of_rules(const MaskScope& scope, std::int64_t depth, Companions with) {
  const std::int64_t kind = depth == 0 ? 0 : number(0, 4);
  if (kind == 0) return random_leaf(scope, with);
  const Mask a = random_tree_of_rules(scope, depth - 1, with);
  if (kind == 1) return ~a;
  const Mask b = random_tree_of_rules(scope, depth - 1, with);
  return kind % 2 == 0 ? a & b : a | b;
}

inline std::vector<std::int64_t> random_sums(std::int64_t n_sequences, std::int64_t total) {
  std::vector<std::int64_t> sums = {0, total};
  for (std::int64_t s = 1; s < n_sequences; ++s) sums.push_back(number(0, total));
  std::sort(sums.begin(), sums.end());
  return sums;
}

// at_last_keys: no more queries than keys, as a tree needs.
inline Mask random_lengths(const MaskScope& scope, bool at_last_keys) {
  std::vector<std::int64_t> q_lens, kv_lens;
  for (std::int64_t b = 0; b < kBatch; ++b) {
    kv_lens.push_back(number(0, scope.kv_len));
    q_lens.push_back(number(0, at_last_keys ? std::min(scope.q_len, kv_lens.back()) : scope.q_len));
  }
  return mask::lengths(q_lens, kv_lens);
}

inline Mask random_positions(const MaskScope& scope) {
  const std::int64_t far = 2 * std::max(scope.q_len, scope.kv_len) + 1;
  const mask::PerBatch q = random_lists(scope.q_len, -5, far);
  if (number(0, 1) == 0) return mask::positions(q);
  return mask::positions(q, random_lists(scope.kv_len, -5, far));
}

inline Mask random_packed(const MaskScope& scope) {
  const std::int64_t n = number(1, 6);
  return mask::packed(random_sums(n, scope.q_len), random_sums(n, scope.kv_len));
}

// Trees of rules for batches of kBatch and kHeads heads, most of them with rules that say where
// tokens stand.
inline Mask random_mask(const MaskScope& scope) {
  const std::int64_t mover = number(0, 5);
  const bool at_last_keys = number(0, 1) == 0;
  const Companions with{.bigbird = mover > 1, .tree = mover == 2 ? at_last_keys : mover > 0};
  const Mask mask = random_tree_of_rules(scope, number(0, 3), with);
  if (mover == 0) return mask & random_packed(scope);
  if (mover == 1) return random_positions(scope) & mask;
  return mover == 2 ? mask & random_lengths(scope, at_last_keys) : mask;
}

}  // namespace raptly::mask_testing
