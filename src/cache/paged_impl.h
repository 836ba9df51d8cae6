// The insides of PagedCache, shared by paged.cc and paged_check.cc.
#pragma once

#include <string>
#include <vector>

#include "base/aligned.h"
#include "cache/common.h"
#include "cache/page_pool.h"
#include "cache/prefix_index.h"
#include "raptly/kv_view.h"

namespace raptly {

struct PagedSequence {
  std::vector<PageId> pages;         // ceil(length / page_size); none while swapped out
  std::vector<std::int32_t> tokens;  // ids of the first tokens, as far as they are known
  std::int64_t length = 0;
  std::vector<std::vector<KvRun>> runs;  // [layer][page]
  bool swapped = false;
  AlignedBytes swapped_bytes;  // [page][layer], each as in the pool
};

struct PagedState {
  PagedState(const CacheShape& given, const PagedOptions& options);

  CacheShape shape;
  std::int64_t page_size;
  std::size_t layer_page_bytes;  // of one page in one layer, whole cache lines
  AlignedBytes bytes;            // [layer][page]
  PagePool pool;
  PrefixIndex index;
  SequenceTable<PagedSequence> sequences{"PagedCache"};
  std::int64_t prefix_lookups = 0, prefix_hits = 0;

  std::size_t page_bytes() const {
    return layer_page_bytes * static_cast<std::size_t>(shape.n_layers);
  }
  std::int64_t pages_of(std::int64_t n_tokens) const {
    return (n_tokens + page_size - 1) / page_size;
  }
  std::byte* page_at(std::int64_t layer, PageId page) const {
    return bytes.data() +
           static_cast<std::size_t>(layer * pool.n_pages() + page) * layer_page_bytes;
  }
  std::byte* place(std::int64_t layer, PageId page, bool value, std::int64_t slot) const {
    const std::int64_t start =
        value ? shape.n_kv_heads * page_size * shape.head_dim + slot * shape.v_dim
              : slot * shape.head_dim;
    return page_at(layer, page) + static_cast<std::size_t>(start) * dtype_size(shape.dtype);
  }

  PagedSequence& live(SequenceId id);  // throws where it is swapped out
  const PagedSequence& live(SequenceId id) const;

  // A page with nothing in it, held once; of a pool with free pages.
  PageId take_page() noexcept;
  void release_page(PageId page) noexcept;

  // Tables. Room is reserved first, so that nothing throws once something has changed.
  void reserve(PagedSequence& s, std::int64_t n_pages, std::int64_t n_tokens) const;
  void set_page(PagedSequence& s, std::size_t i, PageId page) const noexcept;
  void push_page(PagedSequence& s, PageId page) const noexcept;
  void drop_pages(PagedSequence& s, std::int64_t n_kept) noexcept;
  void set_length(PagedSequence& s, std::int64_t length) const noexcept;

  // Pages that hold the whole pages of `tokens`, as many as are found in a row.
  std::vector<PageId> match(std::span<const std::int32_t> tokens) const;
  // Makes the whole pages of known tokens from page `first` on findable.
  void register_pages(const PagedSequence& s, std::int64_t first) noexcept;
  // Before the sequence writes behind its last token.
  void own_last_page(PagedSequence& s) noexcept;

  std::string fault() const;  // check_valid()
};

struct PagedCache::Impl : PagedState {
  using PagedState::PagedState;
};

}  // namespace raptly
