#include "text/bpe.h"

#include <algorithm>
#include <bit>
#include <functional>

namespace raptly {
namespace {

// Up to here looking through all pairs for the best beats keeping a heap.
constexpr std::size_t kShortWord = 32;

std::uint64_t key_of(TokenId left, TokenId right) {
  return std::uint64_t{static_cast<std::uint32_t>(left)} << 32 | static_cast<std::uint32_t>(right);
}

std::size_t hash(std::uint64_t key) {  // the finaliser of MurmurHash3
  key ^= key >> 33;
  key *= 0xFF51AFD7ED558CCDu;
  key ^= key >> 33;
  key *= 0xC4CEB9FE1A85EC53u;
  return static_cast<std::size_t>(key ^ key >> 33);
}

std::uint32_t rank_of(std::uint64_t pair) { return static_cast<std::uint32_t>(pair >> 32); }
TokenId merged_of(std::uint64_t pair) { return static_cast<TokenId>(pair & 0xFFFFFFFFu); }

}  // namespace

MergeTable::MergeTable(std::size_t n_merges) : slots_(std::bit_ceil(2 * n_merges + 2)) {}

bool MergeTable::add(TokenId left, TokenId right, std::uint32_t rank, TokenId merged) {
  const std::uint64_t key = key_of(left, right);
  std::size_t i = hash(key) & (slots_.size() - 1);
  for (; slots_[i].key != kNone; i = (i + 1) & (slots_.size() - 1)) {
    if (slots_[i].key == key) return false;
  }
  slots_[i] = {key, std::uint64_t{rank} << 32 | static_cast<std::uint32_t>(merged)};
  return true;
}

std::uint64_t MergeTable::find(TokenId left, TokenId right) const noexcept {
  const std::uint64_t key = key_of(left, right);
  std::size_t i = hash(key) & (slots_.size() - 1);
  while (slots_[i].key != key) {
    if (slots_[i].key == kNone) return kNone;
    i = (i + 1) & (slots_.size() - 1);
  }
  return slots_[i].value;
}

void MergeTable::merge(std::vector<TokenId>& tokens, Scratch& scratch) const {
  if (tokens.size() < 2) return;
  if (tokens.size() <= kShortWord) {
    merge_short(tokens, scratch);
  } else {
    merge_long(tokens, scratch);
  }
}

void MergeTable::merge_short(std::vector<TokenId>& tokens, Scratch& scratch) const {
  // pairs[i]: of tokens i and i + 1. Values compare by rank first, and std::min_element finds the
  // leftmost of equal ones.
  auto& pairs = scratch.pairs;
  pairs.resize(tokens.size() - 1);
  for (std::size_t i = 0; i + 1 < tokens.size(); ++i) pairs[i] = find(tokens[i], tokens[i + 1]);
  while (!pairs.empty()) {
    const auto best = std::min_element(pairs.begin(), pairs.end());
    if (*best == kNone) break;
    const auto i = static_cast<std::size_t>(best - pairs.begin());
    tokens[i] = merged_of(*best);
    tokens.erase(tokens.begin() + static_cast<std::ptrdiff_t>(i) + 1);
    pairs.erase(best);
    if (i > 0) pairs[i - 1] = find(tokens[i - 1], tokens[i]);
    if (i < pairs.size()) pairs[i] = find(tokens[i], tokens[i + 1]);
  }
}

void MergeTable::merge_long(std::vector<TokenId>& tokens, Scratch& scratch) const {
  // A linked list of the tokens left, and a heap of rank << 32 | position. An entry whose pair has
  // changed since is skipped: pairs[position] then has another rank, or is kNone.
  const auto n = static_cast<std::uint32_t>(tokens.size());
  auto& [pairs, heap, next, previous] = scratch;
  pairs.assign(n, kNone);
  next.resize(n);
  previous.resize(n);
  heap.clear();
  for (std::uint32_t i = 0; i < n; ++i) {
    next[i] = i + 1;
    previous[i] = i - 1;  // of the first: 2^32 - 1
    if (i + 1 < n) pairs[i] = find(tokens[i], tokens[i + 1]);
    if (pairs[i] != kNone) heap.push_back(std::uint64_t{rank_of(pairs[i])} << 32 | i);
  }
  std::make_heap(heap.begin(), heap.end(), std::greater<>());
  const auto update = [&](std::uint32_t i) {
    pairs[i] = next[i] < n ? find(tokens[i], tokens[next[i]]) : kNone;
    if (pairs[i] == kNone) return;
    heap.push_back(std::uint64_t{rank_of(pairs[i])} << 32 | i);
    std::push_heap(heap.begin(), heap.end(), std::greater<>());
  };
  while (!heap.empty()) {
    const std::uint64_t best = heap.front();
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    heap.pop_back();
    const auto i = static_cast<std::uint32_t>(best & 0xFFFFFFFFu);
    if (pairs[i] == kNone || rank_of(pairs[i]) != rank_of(best)) continue;
    const std::uint32_t gone = next[i];
    tokens[i] = merged_of(pairs[i]);
    next[i] = next[gone];
    if (next[i] < n) previous[next[i]] = i;
    pairs[gone] = kNone;
    update(i);
    if (i > 0) update(previous[i]);
  }
  std::size_t kept = 0;
  for (std::uint32_t i = 0; i < n; i = next[i]) tokens[kept++] = tokens[i];
  tokens.resize(kept);
}

}  // namespace raptly
