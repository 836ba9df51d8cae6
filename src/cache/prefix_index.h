// Finds pages of tokens by what they hold and all that stands before: prefix sharing.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

namespace raptly {

using PageId = std::int32_t;
constexpr PageId kNoPage = -1;

// A page holds page_size tokens behind a prefix. What it holds has a content id: equal tokens
// behind equal prefixes have the same, so comparing the id of the prefix and the tokens of the page
// compares all tokens. The hash, keyed and chained through the prefix, only finds candidates.
class PrefixIndex {
 public:
  struct Content {
    std::uint64_t id = 0;  // 0: unknown
    std::uint64_t hash = 0;
  };
  static constexpr Content kEmptyPrefix{1, 0};

  // hash_bits: of the hash that are used, 0 to 64; fewer collide more.
  PrefixIndex(std::int64_t n_pages, std::int64_t page_size, std::uint64_t key, int hash_bits);

  // The page that holds `tokens` [page_size] behind `before`, or kNoPage.
  PageId find(const Content& before, std::span<const std::int32_t> tokens) const;
  // Says what `page` holds. It can be found from now on, unless another page holds the same: then
  // that one stays the one to find. Throws std::bad_alloc, and the page is unknown.
  void insert(PageId page, const Content& before, std::span<const std::int32_t> tokens);
  void erase(PageId page) noexcept;  // the page holds something else from now on

  const Content& content(PageId page) const { return entry(page).content; }
  bool findable(PageId page) const { return entry(page).findable; }

  // For check_valid().
  std::uint64_t before(PageId page) const { return entry(page).before; }
  std::span<const std::int32_t> tokens(PageId page) const;
  std::size_t n_findable() const { return pages_.size(); }

 private:
  struct Entry {
    Content content;
    std::uint64_t before = 0;  // content id of the prefix
    bool findable = false;
  };
  const Entry& entry(PageId page) const { return entries_[static_cast<std::size_t>(page)]; }
  std::uint64_t hash(const Content& before, std::span<const std::int32_t> tokens) const;
  PageId find(std::uint64_t hash, const Content& before,
              std::span<const std::int32_t> tokens) const;

  std::int64_t page_size_;
  std::uint64_t key_, hash_mask_;
  std::uint64_t next_id_ = kEmptyPrefix.id + 1;
  std::vector<Entry> entries_;
  std::vector<std::int32_t> tokens_;  // [n_pages, page_size]
  std::unordered_multimap<std::uint64_t, PageId> pages_;
};

}  // namespace raptly
