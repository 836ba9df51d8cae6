#include <algorithm>
#include <cassert>
#include <cstring>
#include <map>
#include <new>
#include <random>
#include <utility>

#include "cache/paged_impl.h"

namespace raptly {
namespace {

constexpr char kWhere[] = "PagedCache";
constexpr std::int64_t kMinPageSize = 8, kMaxPageSize = 256;
constexpr std::size_t kLine = 64;

PagedOptions checked_options(const PagedOptions& options) {
  check_size(kWhere, "n_pages", options.n_pages);
  if (options.n_pages > (std::int64_t{1} << 31) - 1) reject(kWhere, "n_pages is above 2^31 - 1.");
  if (options.page_size < kMinPageSize || options.page_size > kMaxPageSize) {
    reject(kWhere, "page_size is " + std::to_string(options.page_size) + ". It must be " +
                       std::to_string(kMinPageSize) + " to " + std::to_string(kMaxPageSize) + ".");
  }
  if (options.hash_bits < 0 || options.hash_bits > 64) {
    reject(kWhere, "hash_bits is " + std::to_string(options.hash_bits) + ". It must be 0 to 64.");
  }
  return options;
}

std::uint64_t random_key() {
  std::random_device random;
  return static_cast<std::uint64_t>(random()) << 32 | random();
}

std::size_t bytes_of_layer_page(const CacheShape& shape, std::int64_t page_size) {
  const auto elements =
      static_cast<std::size_t>(shape.n_kv_heads * page_size * (shape.head_dim + shape.v_dim));
  return (elements * dtype_size(shape.dtype) + kLine - 1) / kLine * kLine;
}

// Throws before anything is reserved.
std::size_t pool_bytes(const CacheShape& shape, const PagedOptions& options,
                       std::size_t layer_page_bytes) {
  check_bytes(kWhere, shape, options.n_pages * options.page_size);
  return layer_page_bytes * static_cast<std::size_t>(shape.n_layers * options.n_pages);
}

template <class T>
void reserve_more(std::vector<T>& v, std::int64_t n) {
  const auto wanted = static_cast<std::size_t>(n);
  if (wanted > v.capacity()) v.reserve(std::max(wanted, 2 * v.capacity()));
}

}  // namespace

PagedState::PagedState(const CacheShape& given, const PagedOptions& options)
    : shape(checked_shape(kWhere, given)),
      page_size(checked_options(options).page_size),
      layer_page_bytes(bytes_of_layer_page(shape, page_size)),
      bytes(pool_bytes(shape, options, layer_page_bytes)),
      pool(options.n_pages),
      index(options.n_pages, page_size, options.hash_key == 0 ? random_key() : options.hash_key,
            options.hash_bits) {}

const PagedSequence& PagedState::live(SequenceId id) const {
  const PagedSequence& s = sequences.get(id);
  if (!s.swapped) return s;
  reject(kWhere, "sequence " + std::to_string(id) + " is swapped out. swap_in() it first.");
}
PagedSequence& PagedState::live(SequenceId id) {
  return const_cast<PagedSequence&>(std::as_const(*this).live(id));
}

PageId PagedState::take_page() noexcept {
  const PageId page = pool.take();
  index.erase(page);
  return page;
}

void PagedState::release_page(PageId page) noexcept {
  const bool keep_long = index.findable(page);
  if (pool.refs(page) == 1 && !keep_long) index.erase(page);
  pool.release(page, keep_long);
}

void PagedState::reserve(PagedSequence& s, std::int64_t n_pages, std::int64_t n_tokens) const {
  reserve_more(s.pages, n_pages);
  reserve_more(s.tokens, n_tokens);
  s.runs.resize(static_cast<std::size_t>(shape.n_layers));
  for (auto& runs : s.runs) reserve_more(runs, n_pages);
}

void PagedState::set_page(PagedSequence& s, std::size_t i, PageId page) const noexcept {
  s.pages[i] = page;
  for (std::int64_t layer = 0; layer < shape.n_layers; ++layer) {
    KvRun& run = s.runs[static_cast<std::size_t>(layer)][i];
    run.k = place(layer, page, false, 0);
    run.v = place(layer, page, true, 0);
  }
}

void PagedState::push_page(PagedSequence& s, PageId page) const noexcept {
  const auto first = static_cast<std::int64_t>(s.pages.size()) * page_size;
  s.pages.push_back(page);
  for (auto& runs : s.runs) runs.push_back({nullptr, nullptr, nullptr, nullptr, page_size, first});
  set_page(s, s.pages.size() - 1, page);
}

// The last first: they are taken first, and the head of a prefix is what others share.
void PagedState::drop_pages(PagedSequence& s, std::int64_t n_kept) noexcept {
  while (static_cast<std::int64_t>(s.pages.size()) > n_kept) {
    release_page(s.pages.back());
    s.pages.pop_back();
    for (auto& runs : s.runs) runs.pop_back();
  }
}

// Of a sequence that has the pages.
void PagedState::set_length(PagedSequence& s, std::int64_t length) const noexcept {
  const std::int64_t before = std::min(s.length, length) / page_size;
  s.length = length;
  for (auto& runs : s.runs) {
    for (auto i = static_cast<std::size_t>(before); i < runs.size(); ++i) {
      runs[i].n = std::min(page_size, length - runs[i].first_ordinal);
    }
    // A length that ends with a page: the one before was cut short perhaps.
    if (!runs.empty()) runs.back().n = length - runs.back().first_ordinal;
  }
}

std::vector<PageId> PagedState::match(std::span<const std::int32_t> tokens) const {
  std::vector<PageId> found;
  PrefixIndex::Content before = PrefixIndex::kEmptyPrefix;
  const auto size = static_cast<std::size_t>(page_size);
  for (; tokens.size() >= size; tokens = tokens.subspan(size)) {
    const PageId page = index.find(before, tokens.first(size));
    if (page == kNoPage) break;
    found.push_back(page);
    before = index.content(page);
  }
  return found;
}

void PagedState::register_pages(const PagedSequence& s, std::int64_t first) noexcept {
  const auto size = static_cast<std::size_t>(page_size);
  for (auto i = static_cast<std::size_t>(first); (i + 1) * size <= s.tokens.size(); ++i) {
    const auto before = i == 0 ? PrefixIndex::kEmptyPrefix : index.content(s.pages[i - 1]);
    if (before.id == 0) return;
    try {
      index.insert(s.pages[i], before, std::span(s.tokens).subspan(i * size, size));
    } catch (const std::bad_alloc&) {
      return;  // the page works, nobody will find it
    }
  }
}

void PagedState::own_last_page(PagedSequence& s) noexcept {
  if (s.length % page_size == 0) return;
  const PageId page = s.pages.back();
  if (pool.refs(page) == 1) return index.erase(page);
  const PageId copy = take_page();
  for (std::int64_t layer = 0; layer < shape.n_layers; ++layer) {
    std::memcpy(page_at(layer, copy), page_at(layer, page), layer_page_bytes);
  }
  release_page(page);
  set_page(s, s.pages.size() - 1, copy);
}

PagedCache::PagedCache(const CacheShape& shape, const PagedOptions& options)
    : impl_(std::make_unique<Impl>(shape, options)) {}
PagedCache::~PagedCache() = default;

const CacheShape& PagedCache::shape() const { return impl_->shape; }

SequenceId PagedCache::add(std::span<const std::int32_t> tokens) {
  Impl& p = *impl_;
  const auto searched = tokens.first(tokens.empty() ? 0 : tokens.size() - 1);
  const std::vector<PageId> found = p.match(searched);
  const auto n_tokens = static_cast<std::int64_t>(found.size()) * p.page_size;
  PagedSequence made;
  p.reserve(made, static_cast<std::int64_t>(found.size()), n_tokens);
  const SequenceId id = p.sequences.add(std::move(made));
  PagedSequence& s = p.sequences.get(id);
  for (const PageId page : found) {
    p.pool.add_ref(page);
    p.push_page(s, page);
  }
  const auto known = tokens.first(static_cast<std::size_t>(n_tokens));
  s.tokens.assign(known.begin(), known.end());
  p.set_length(s, n_tokens);
  p.prefix_lookups += static_cast<std::int64_t>(searched.size()) / p.page_size;
  p.prefix_hits += static_cast<std::int64_t>(found.size());
  assert(p.fault().empty());
  return id;
}

void PagedCache::remove(SequenceId sequence) {
  impl_->drop_pages(impl_->sequences.get(sequence), 0);
  impl_->sequences.erase(sequence);
  assert(impl_->fault().empty());
}

SequenceId PagedCache::fork(SequenceId sequence) {
  Impl& p = *impl_;
  const PagedSequence& from = p.live(sequence);
  PagedSequence to;
  to.pages = from.pages;
  to.tokens = from.tokens;
  to.length = from.length;
  to.runs = from.runs;
  const SequenceId id = p.sequences.add(std::move(to));
  for (const PageId page : p.sequences.get(id).pages) p.pool.add_ref(page);
  assert(p.fault().empty());
  return id;
}

std::int64_t PagedCache::length(SequenceId sequence) const {
  return impl_->sequences.get(sequence).length;
}

std::int64_t PagedCache::capacity(SequenceId sequence) const {
  const Impl& p = *impl_;
  const PagedSequence& s = p.live(sequence);
  std::int64_t free = p.pool.n_free();
  const std::int64_t in_table = static_cast<std::int64_t>(s.pages.size()) * p.page_size;
  if (s.length < in_table && p.pool.refs(s.pages.back()) > 1) {
    if (free == 0) return s.length;
    --free;  // for the copy
  }
  return in_table + free * p.page_size;
}

void PagedCache::truncate(SequenceId sequence, std::int64_t n) {
  Impl& p = *impl_;
  PagedSequence& s = p.live(sequence);
  check_truncate(kWhere, n, s.length);
  p.drop_pages(s, p.pages_of(n));
  if (static_cast<std::int64_t>(s.tokens.size()) > n) s.tokens.resize(static_cast<std::size_t>(n));
  p.set_length(s, n);
  assert(p.fault().empty());
}

void PagedCache::grow(std::span<const SequenceId> sequences, std::span<const std::int64_t> lengths,
                      std::span<const std::int32_t> tokens) {
  Impl& p = *impl_;
  const auto grown = growth(kWhere, sequences, lengths, tokens);
  std::map<PageId, std::int32_t> written;  // last pages, and how many write to them
  std::int64_t needed = 0;
  constexpr std::int64_t kMost = std::int64_t{1} << 62;
  for (const auto& [id, more] : grown) {
    const PagedSequence& s = p.live(id);
    if (more == 0) continue;
    if (s.length % p.page_size != 0) ++written[s.pages.back()];
    needed += p.pages_of(s.length + more) - static_cast<std::int64_t>(s.pages.size());
    needed = std::min(needed, kMost);
  }
  for (const auto& [page, writers] : written) needed += std::min(writers, p.pool.refs(page) - 1);
  if (needed > p.pool.n_free()) {
    reject(kWhere,
           std::to_string(needed) + " more pages of " + std::to_string(p.page_size) +
               " tokens are needed. " + std::to_string(p.pool.n_free()) + " of " +
               std::to_string(p.pool.n_pages()) +
               " are free: remove or swap out a sequence, or make the pool larger.",
           ErrorCode::kContextFull);
  }
  std::map<SequenceId, std::vector<std::int32_t>> tokens_of;
  for (std::size_t i = 0; !tokens.empty() && i < sequences.size(); ++i) {
    const auto part = tokens.first(static_cast<std::size_t>(lengths[i]));
    auto& all = tokens_of[sequences[i]];
    all.insert(all.end(), part.begin(), part.end());
    tokens = tokens.subspan(part.size());
  }
  for (const auto& [id, more] : grown) {
    PagedSequence& s = p.live(id);
    p.reserve(s, p.pages_of(s.length + more), s.length + more);
  }
  // Nothing throws from here on.
  for (const auto& [id, more] : grown) {
    if (more == 0) continue;
    PagedSequence& s = p.live(id);
    p.own_last_page(s);
    const std::int64_t length = s.length + more, first_page = s.length / p.page_size;
    const bool known = static_cast<std::int64_t>(s.tokens.size()) == s.length;
    while (static_cast<std::int64_t>(s.pages.size()) < p.pages_of(length)) {
      p.push_page(s, p.take_page());
    }
    p.set_length(s, length);
    const auto given = tokens_of.find(id);
    if (!known || given == tokens_of.end()) continue;
    s.tokens.insert(s.tokens.end(), given->second.begin(), given->second.end());
    p.register_pages(s, first_page);
  }
  assert(p.fault().empty());
}

void PagedCache::write(SequenceId sequence, std::int64_t layer, std::int64_t first, std::int64_t n,
                       const float* k, std::int64_t k_stride, const float* v,
                       std::int64_t v_stride) noexcept {
  const Impl& p = *impl_;
  const PagedSequence& s = p.sequences.known(sequence);
  for (std::int64_t i = 0; i < n; ++i, k += k_stride, v += v_stride) {
    const PageId page = s.pages[static_cast<std::size_t>((first + i) / p.page_size)];
    const std::int64_t slot = (first + i) % p.page_size;
    store_rows(p.shape, false, k, p.place(layer, page, false, slot),
               p.page_size * p.shape.head_dim);
    store_rows(p.shape, true, v, p.place(layer, page, true, slot), p.page_size * p.shape.v_dim);
  }
}

KvView PagedCache::view(SequenceId sequence, std::int64_t layer) const {
  const Impl& p = *impl_;
  const PagedSequence& s = p.live(sequence);
  check_layer(kWhere, p.shape, layer);
  KvView view;
  view.runs = s.runs[static_cast<std::size_t>(layer)];
  view.dtype = p.shape.dtype;
  view.k_token_stride = p.shape.head_dim;
  view.k_head_stride = p.page_size * p.shape.head_dim;
  view.v_token_stride = p.shape.v_dim;
  view.v_head_stride = p.page_size * p.shape.v_dim;
  view.length = s.length;
  return view;
}

std::size_t PagedCache::nbytes() const {
  std::size_t total = impl_->bytes.size();
  for (const auto& [id, s] : impl_->sequences) total += s.swapped_bytes.size();
  return total;
}

CacheStats PagedCache::stats() const {
  const Impl& p = *impl_;
  CacheStats stats;
  stats.pages_total = p.pool.n_pages();
  std::map<PageId, std::int64_t> filled;  // last pages; whoever holds most of it counts
  std::int64_t tokens = 0;
  for (const auto& [id, s] : p.sequences) {
    for (std::size_t i = 0; i < s.pages.size(); ++i) {
      std::int64_t& n = filled[s.pages[i]];
      n = std::max(n, s.runs[0][i].n);
    }
  }
  for (const auto& [page, n] : filled) {
    ++stats.pages_used;
    if (p.pool.refs(page) > 1) ++stats.pages_shared;
    tokens += n;
  }
  stats.bytes_used = static_cast<std::size_t>(stats.pages_used) * p.page_bytes();
  stats.bytes_wasted = stats.bytes_used - static_cast<std::size_t>(tokens) * token_bytes(p.shape);
  stats.prefix_lookups = p.prefix_lookups;
  stats.prefix_hits = p.prefix_hits;
  return stats;
}

void PagedCache::swap_out(SequenceId sequence) {
  Impl& p = *impl_;
  PagedSequence& s = p.sequences.get(sequence);
  if (s.swapped) return;
  AlignedBytes out;
  if (!s.pages.empty()) out = AlignedBytes(s.pages.size() * p.page_bytes());
  std::byte* to = out.data();
  for (const PageId page : s.pages) {
    for (std::int64_t layer = 0; layer < p.shape.n_layers; ++layer, to += p.layer_page_bytes) {
      std::memcpy(to, p.page_at(layer, page), p.layer_page_bytes);
    }
  }
  p.drop_pages(s, 0);
  s.swapped_bytes = std::move(out);
  s.swapped = true;
  assert(p.fault().empty());
}

void PagedCache::swap_in(SequenceId sequence) {
  Impl& p = *impl_;
  PagedSequence& s = p.sequences.get(sequence);
  if (!s.swapped) return;
  const std::int64_t n_pages = p.pages_of(s.length);
  const std::vector<PageId> found = p.match(s.tokens);
  const auto n_found = static_cast<std::int64_t>(found.size());
  const auto revived = std::count_if(found.begin(), found.end(),
                                     [&](PageId page) { return p.pool.refs(page) == 0; });
  const std::int64_t needed = n_pages - n_found + revived;
  if (needed > p.pool.n_free()) {
    reject(kWhere,
           "sequence " + std::to_string(sequence) + " needs " + std::to_string(needed) +
               " pages to come back. " + std::to_string(p.pool.n_free()) + " of " +
               std::to_string(p.pool.n_pages()) + " are free: remove or swap out another.",
           ErrorCode::kContextFull);
  }
  p.reserve(s, n_pages, 0);
  s.swapped = false;
  for (const PageId page : found) {
    p.pool.add_ref(page);
    p.push_page(s, page);
  }
  const std::byte* from =
      s.swapped_bytes.data() + static_cast<std::size_t>(n_found) * p.page_bytes();
  for (std::int64_t i = n_found; i < n_pages; ++i) {
    p.push_page(s, p.take_page());
    for (std::int64_t layer = 0; layer < p.shape.n_layers; ++layer, from += p.layer_page_bytes) {
      std::memcpy(p.page_at(layer, s.pages.back()), from, p.layer_page_bytes);
    }
  }
  p.set_length(s, s.length);
  p.register_pages(s, n_found);
  s.swapped_bytes = {};
  assert(p.fault().empty());
}

std::string PagedCache::check_valid() const { return impl_->fault(); }

}  // namespace raptly
