#include "cache/page_pool.h"

namespace raptly {

PagePool::PagePool(std::int64_t n_pages)
    : refs_(static_cast<std::size_t>(n_pages)), links_(static_cast<std::size_t>(n_pages) + 1) {
  links_.back() = {list(), list()};
  for (PageId page = 0; page < list(); ++page) link(links_.back().before, page);
}

void PagePool::link(PageId before, PageId page) noexcept {
  const PageId after = links_[static_cast<std::size_t>(before)].after;
  links_[static_cast<std::size_t>(page)] = {before, after};
  links_[static_cast<std::size_t>(before)].after = page;
  links_[static_cast<std::size_t>(after)].before = page;
  ++n_free_;
}

void PagePool::unlink(PageId page) noexcept {
  const Link at = links_[static_cast<std::size_t>(page)];
  links_[static_cast<std::size_t>(at.before)].after = at.after;
  links_[static_cast<std::size_t>(at.after)].before = at.before;
  --n_free_;
}

PageId PagePool::take() noexcept {
  const PageId page = links_.back().after;
  add_ref(page);
  return page;
}

void PagePool::add_ref(PageId page) noexcept {
  if (refs_[static_cast<std::size_t>(page)]++ == 0) unlink(page);
}

void PagePool::release(PageId page, bool keep_long) noexcept {
  if (--refs_[static_cast<std::size_t>(page)] > 0) return;
  link(keep_long ? links_.back().before : list(), page);
}

std::vector<PageId> PagePool::free_pages() const {
  std::vector<PageId> pages;
  for (PageId page = links_.back().after; page != list();
       page = links_[static_cast<std::size_t>(page)].after) {
    pages.push_back(page);
    if (pages.size() > refs_.size()) break;  // a ring: whoever checks will see
  }
  return pages;
}

}  // namespace raptly
