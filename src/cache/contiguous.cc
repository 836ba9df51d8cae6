#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "base/aligned.h"
#include "cache/common.h"
#include "raptly/kv_view.h"

namespace raptly {
namespace {

constexpr char kWhere[] = "ContiguousCache";

enum class Pages { kSmall, kLarge };

// Memory of one sequence: [layer][k heads, then v heads][token][dim], so that the keys of a head
// are adjacent rows whatever the number of heads.
struct Sequence {
  AlignedBytes bytes;
  Pages pages = Pages::kSmall;
  std::int64_t length = 0;
  std::vector<KvRun> runs;  // one a layer
};

// A head has a place for every token, so the first token touches all heads of all layers. With
// pages of 2 MiB, a few words in a cache of 8,192 tokens (1 MiB a head) cleared and kept all of it:
// for SmolLM2 180 MiB and half the speed of a short prompt. So a sequence starts on small pages and
// grows with what it holds. Once it holds a quarter of its capacity it moves to huge pages: those
// make reading 4,096 tokens 4 to 5 % faster (decoding, SmolLM2, Zen 4).
constexpr std::int64_t kSmallShare = 4;

void use_small_pages(const AlignedBytes& bytes) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const auto at = reinterpret_cast<std::uintptr_t>(bytes.data());
  const std::size_t skipped = (page - at % page) % page;
  if (bytes.size() < skipped + page) return;
  // Only advice: where it is refused the memory is the same, and more of it resident.
  madvise(bytes.data() + skipped, (bytes.size() - skipped) / page * page, MADV_NOHUGEPAGE);
}

void set_length(Sequence& s, std::int64_t length) {
  s.length = length;
  for (KvRun& run : s.runs) run.n = length;
}

}  // namespace

struct ContiguousCache::Impl {
  CacheShape shape;
  std::int64_t capacity = 0;
  SequenceTable<Sequence> sequences{kWhere};

  std::int64_t head_elements(bool value) const {
    return capacity * (value ? shape.v_dim : shape.head_dim);
  }
  std::int64_t layer_elements() const {
    return shape.n_kv_heads * (head_elements(false) + head_elements(true));
  }
  std::size_t element_size() const { return dtype_size(shape.dtype); }

  std::byte* place(const Sequence& s, std::int64_t layer, bool value, std::int64_t token) const {
    const std::int64_t start = layer * layer_elements() +
                               (value ? shape.n_kv_heads * head_elements(false) : 0) +
                               token * (value ? shape.v_dim : shape.head_dim);
    return s.bytes.data() + static_cast<std::size_t>(start) * element_size();
  }

  Sequence make(Pages pages) const {
    Sequence s;
    s.pages = pages;
    const auto elements = static_cast<std::size_t>(shape.n_layers * layer_elements());
    s.bytes = AlignedBytes(elements * element_size());
    if (pages == Pages::kSmall) use_small_pages(s.bytes);
    for (std::int64_t layer = 0; layer < shape.n_layers; ++layer) {
      s.runs.push_back(
          {place(s, layer, false, 0), place(s, layer, true, 0), nullptr, nullptr, 0, 0});
    }
    return s;
  }

  // A sequence of the same tokens in memory of its own.
  Sequence copy(const Sequence& from, Pages pages) const {
    Sequence to = make(pages);
    for (std::int64_t layer = 0; layer < shape.n_layers; ++layer) {
      for (const bool value : {false, true}) {
        const auto head_bytes = static_cast<std::size_t>(head_elements(value)) * element_size();
        const std::size_t used =
            head_bytes / static_cast<std::size_t>(capacity) * static_cast<std::size_t>(from.length);
        for (std::int64_t h = 0; h < shape.n_kv_heads; ++h) {
          const std::size_t offset = static_cast<std::size_t>(h) * head_bytes;
          std::memcpy(place(to, layer, value, 0) + offset, place(from, layer, value, 0) + offset,
                      used);
        }
      }
    }
    set_length(to, from.length);
    return to;
  }

  // Before the sequence grows to `length`.
  void choose_pages(Sequence& s, std::int64_t length) const {
    if (s.pages == Pages::kLarge || length < capacity / kSmallShare) return;
    try {
      s = copy(s, Pages::kLarge);
    } catch (const Error&) {  // no room for both: small pages do as well
      s.pages = Pages::kLarge;
    }
  }
};

ContiguousCache::ContiguousCache(const CacheShape& shape, std::int64_t capacity)
    : impl_(std::make_unique<Impl>()) {
  impl_->shape = checked_shape(kWhere, shape);
  check_size(kWhere, "capacity", capacity);
  check_bytes(kWhere, impl_->shape, capacity);
  impl_->capacity = capacity;
}
ContiguousCache::~ContiguousCache() = default;

const CacheShape& ContiguousCache::shape() const { return impl_->shape; }

SequenceId ContiguousCache::add(std::span<const std::int32_t>) {
  return impl_->sequences.add(impl_->make(Pages::kSmall));
}

void ContiguousCache::remove(SequenceId sequence) {
  impl_->sequences.get(sequence);
  impl_->sequences.erase(sequence);
}

SequenceId ContiguousCache::fork(SequenceId sequence) {
  const Sequence& from = impl_->sequences.get(sequence);
  return impl_->sequences.add(impl_->copy(from, from.pages));
}

std::int64_t ContiguousCache::length(SequenceId sequence) const {
  return impl_->sequences.get(sequence).length;
}
std::int64_t ContiguousCache::capacity(SequenceId sequence) const {
  impl_->sequences.get(sequence);
  return impl_->capacity;
}

void ContiguousCache::truncate(SequenceId sequence, std::int64_t n) {
  Sequence& s = impl_->sequences.get(sequence);
  check_truncate(kWhere, n, s.length);
  set_length(s, n);
}

void ContiguousCache::grow(std::span<const SequenceId> sequences,
                           std::span<const std::int64_t> lengths,
                           std::span<const std::int32_t> tokens) {
  const auto grown = growth(kWhere, sequences, lengths, tokens);
  for (const auto& [id, more] : grown) {
    const std::int64_t length = impl_->sequences.get(id).length;
    if (more <= impl_->capacity - length) continue;
    reject(kWhere,
           "sequence " + std::to_string(id) + " holds " + std::to_string(length) +
               " tokens and should take " + std::to_string(more) + " more. Its capacity is " +
               std::to_string(impl_->capacity) + ".",
           ErrorCode::kContextFull);
  }
  for (const auto& [id, more] : grown) {
    Sequence& s = impl_->sequences.get(id);
    impl_->choose_pages(s, s.length + more);
  }
  for (const auto& [id, more] : grown) {
    Sequence& s = impl_->sequences.get(id);
    set_length(s, s.length + more);
  }
}

void ContiguousCache::write(SequenceId sequence, std::int64_t layer, std::int64_t first,
                            std::int64_t n, const float* k, std::int64_t k_stride, const float* v,
                            std::int64_t v_stride) noexcept {
  const Sequence& s = impl_->sequences.known(sequence);
  for (std::int64_t i = 0; i < n; ++i, k += k_stride, v += v_stride) {
    store_rows(impl_->shape, false, k, impl_->place(s, layer, false, first + i),
               impl_->head_elements(false));
    store_rows(impl_->shape, true, v, impl_->place(s, layer, true, first + i),
               impl_->head_elements(true));
  }
}

KvView ContiguousCache::view(SequenceId sequence, std::int64_t layer) const {
  const Sequence& s = impl_->sequences.get(sequence);
  const CacheShape& shape = impl_->shape;
  check_layer(kWhere, shape, layer);
  KvView view;
  view.runs = {&s.runs[static_cast<std::size_t>(layer)], s.length > 0 ? std::size_t{1} : 0};
  view.dtype = shape.dtype;
  view.k_token_stride = shape.head_dim;
  view.k_head_stride = impl_->head_elements(false);
  view.v_token_stride = shape.v_dim;
  view.v_head_stride = impl_->head_elements(true);
  view.length = s.length;
  return view;
}

std::size_t ContiguousCache::nbytes() const {
  std::size_t total = 0;
  for (const auto& [id, s] : impl_->sequences) total += s.bytes.size();
  return total;
}

CacheStats ContiguousCache::stats() const {
  CacheStats stats;
  std::int64_t tokens = 0;
  for (const auto& [id, s] : impl_->sequences) tokens += s.length;
  stats.bytes_used = nbytes();
  stats.bytes_wasted =
      stats.bytes_used - static_cast<std::size_t>(tokens) * token_bytes(impl_->shape);
  return stats;
}

}  // namespace raptly
