// The invariants of PagedCache.
#include <algorithm>

#include "cache/paged_impl.h"

namespace raptly {
namespace {

std::string text(std::int64_t n) { return std::to_string(n); }

// That every page is free once or held as often as the pool says.
std::string fault_of_pool(const PagedState& p, const std::vector<std::int32_t>& held) {
  std::vector<bool> free(held.size());
  const std::vector<PageId> free_pages = p.pool.free_pages();
  if (static_cast<std::int64_t>(free_pages.size()) != p.pool.n_free()) {
    return "the list of free pages has " + text(static_cast<std::int64_t>(free_pages.size())) +
           " pages, counted were " + text(p.pool.n_free());
  }
  for (const PageId page : free_pages) {
    if (free[static_cast<std::size_t>(page)]) return "page " + text(page) + " is free twice";
    free[static_cast<std::size_t>(page)] = true;
  }
  std::size_t n_findable = 0;
  for (PageId page = 0; page < p.pool.n_pages(); ++page) {
    const std::int32_t count = held[static_cast<std::size_t>(page)];
    if (p.pool.refs(page) != count) {
      return "page " + text(page) + " is held " + text(count) + " times, counted were " +
             text(p.pool.refs(page));
    }
    if (free[static_cast<std::size_t>(page)] != (count == 0)) {
      return "page " + text(page) + " is held " + text(count) + " times and free, or neither";
    }
    if (p.index.findable(page)) ++n_findable;
    if (count == 0 && p.index.content(page).id != 0 && !p.index.findable(page)) {
      return "page " + text(page) + " is free, known and not findable";
    }
  }
  return n_findable == p.index.n_findable() ? "" : "the prefix index has pages it should not";
}

// That the tables of a sequence agree with its length, its runs and the prefix index.
std::string fault_of_sequence(const PagedState& p, const PagedSequence& s) {
  const auto n_pages = static_cast<std::int64_t>(s.pages.size());
  if (n_pages != (s.swapped ? 0 : p.pages_of(s.length))) return "has " + text(n_pages) + " pages";
  if (static_cast<std::int64_t>(s.tokens.size()) > s.length) return "knows tokens it has not";
  for (std::int64_t layer = 0; layer < p.shape.n_layers; ++layer) {
    const auto& runs = s.runs[static_cast<std::size_t>(layer)];
    if (runs.size() != s.pages.size()) return "has other runs than pages";
    for (std::size_t i = 0; i < runs.size(); ++i) {
      const std::int64_t first = static_cast<std::int64_t>(i) * p.page_size;
      if (runs[i].k != p.place(layer, s.pages[i], false, 0) ||
          runs[i].v != p.place(layer, s.pages[i], true, 0) || runs[i].first_ordinal != first ||
          runs[i].n != std::min(p.page_size, s.length - first)) {
        return "has a wrong run for page " + text(static_cast<std::int64_t>(i));
      }
    }
  }
  const auto size = static_cast<std::size_t>(p.page_size);
  std::uint64_t before = PrefixIndex::kEmptyPrefix.id;
  for (std::size_t i = 0; i < s.pages.size() && (i + 1) * size <= s.tokens.size(); ++i) {
    const PageId page = s.pages[i];
    const std::uint64_t content = p.index.content(page).id;
    if (content == 0) return "";  // what follows is unknown too
    const auto tokens = p.index.tokens(page);
    if (p.index.before(page) != before ||
        !std::equal(tokens.begin(), tokens.end(),
                    s.tokens.begin() + static_cast<std::ptrdiff_t>(i * size))) {
      return "holds page " + text(page) + ", which the index knows with other tokens";
    }
    before = content;
  }
  return "";
}

}  // namespace

std::string PagedState::fault() const {
  std::vector<std::int32_t> held(static_cast<std::size_t>(pool.n_pages()));
  for (const auto& [id, s] : sequences) {
    for (const PageId page : s.pages) ++held[static_cast<std::size_t>(page)];
    const std::string fault = fault_of_sequence(*this, s);
    if (!fault.empty()) return "sequence " + text(id) + " " + fault;
  }
  return fault_of_pool(*this, held);
}

}  // namespace raptly
