// Which pages are free, and how often the others are held.
#pragma once

#include <cstdint>
#include <vector>

#include "cache/prefix_index.h"

namespace raptly {

// Free pages wait in a list. Those whose tokens may be asked for again wait at its end, in the
// order in which they were freed; take() gives the first.
class PagePool {
 public:
  explicit PagePool(std::int64_t n_pages);

  std::int64_t n_pages() const { return static_cast<std::int64_t>(refs_.size()); }
  std::int64_t n_free() const { return n_free_; }
  std::int32_t refs(PageId page) const { return refs_[static_cast<std::size_t>(page)]; }

  PageId take() noexcept;              // held once; of a pool with free pages
  void add_ref(PageId page) noexcept;  // a free page is no longer free
  // Held once less. A page that nobody holds becomes free: the last or the first to be taken.
  void release(PageId page, bool keep_long) noexcept;

  // The free pages from the first to be taken to the last. For check_valid().
  std::vector<PageId> free_pages() const;

 private:
  // Index n_pages stands for the list itself: before the first and behind the last.
  struct Link {
    PageId before, after;
  };
  PageId list() const { return static_cast<PageId>(refs_.size()); }
  void link(PageId before, PageId page) noexcept;  // behind `before`
  void unlink(PageId page) noexcept;

  std::vector<std::int32_t> refs_;
  std::vector<Link> links_;
  std::int64_t n_free_ = 0;
};

}  // namespace raptly
