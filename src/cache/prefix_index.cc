#include "cache/prefix_index.h"

#include <algorithm>

namespace raptly {
namespace {

// Steele et al., Fast Splittable Pseudorandom Number Generators (SplitMix64's finaliser).
std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

}  // namespace

PrefixIndex::PrefixIndex(std::int64_t n_pages, std::int64_t page_size, std::uint64_t key,
                         int hash_bits)
    : page_size_(page_size),
      key_(key),
      hash_mask_(hash_bits == 0 ? 0 : ~std::uint64_t{0} >> (64 - hash_bits)),
      entries_(static_cast<std::size_t>(n_pages)),
      tokens_(static_cast<std::size_t>(n_pages * page_size)) {}

std::span<const std::int32_t> PrefixIndex::tokens(PageId page) const {
  return {tokens_.data() + page * page_size_, static_cast<std::size_t>(page_size_)};
}

// The key keeps anybody who chooses tokens from choosing collisions.
std::uint64_t PrefixIndex::hash(const Content& before, std::span<const std::int32_t> tokens) const {
  std::uint64_t h = mix(before.hash ^ key_);
  for (const std::int32_t token : tokens) {
    h = mix(h + 0x9e3779b97f4a7c15u + static_cast<std::uint32_t>(token));
  }
  return h & hash_mask_;
}

PageId PrefixIndex::find(std::uint64_t hash, const Content& before,
                         std::span<const std::int32_t> tokens) const {
  const auto [first, last] = pages_.equal_range(hash);
  for (auto candidate = first; candidate != last; ++candidate) {
    const PageId page = candidate->second;
    const auto held = this->tokens(page);
    if (entry(page).before == before.id && std::equal(held.begin(), held.end(), tokens.begin())) {
      return page;
    }
  }
  return kNoPage;
}

PageId PrefixIndex::find(const Content& before, std::span<const std::int32_t> tokens) const {
  return find(hash(before, tokens), before, tokens);
}

void PrefixIndex::insert(PageId page, const Content& before, std::span<const std::int32_t> tokens) {
  const std::uint64_t h = hash(before, tokens);
  const PageId same = find(h, before, tokens);
  if (same == kNoPage) pages_.emplace(h, page);  // the only thing that can throw
  std::copy(tokens.begin(), tokens.end(), tokens_.begin() + page * page_size_);
  Entry& e = entries_[static_cast<std::size_t>(page)];
  e.before = before.id;
  e.findable = same == kNoPage;
  e.content = {same == kNoPage ? next_id_++ : content(same).id, h};
}

void PrefixIndex::erase(PageId page) noexcept {
  Entry& e = entries_[static_cast<std::size_t>(page)];
  if (e.findable) {
    auto [at, last] = pages_.equal_range(e.content.hash);
    while (at != last && at->second != page) ++at;
    if (at != last) pages_.erase(at);
  }
  e = {};
}

}  // namespace raptly
