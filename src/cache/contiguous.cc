#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "base/aligned.h"
#include "base/convert.h"
#include "raptly/cache.h"
#include "raptly/error.h"
#include "raptly/kv_view.h"

namespace raptly {
namespace {

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

template <class T>
void write_rows(T* to, std::int64_t head_stride, std::int64_t dim, const float* from,
                std::int64_t n_heads) {
  for (std::int64_t h = 0; h < n_heads; ++h) narrow(from + h * dim, dim, to + h * head_stride);
}

void set_length(Sequence& s, std::int64_t length) {
  s.length = length;
  for (KvRun& run : s.runs) run.n = length;
}

}  // namespace

struct ContiguousCache::Impl {
  CacheShape shape;
  std::int64_t capacity = 0;
  std::map<SequenceId, Sequence> sequences;
  SequenceId next_id = 0;

  std::int64_t head_elements(bool value) const {
    return capacity * (value ? shape.v_dim : shape.head_dim);
  }
  std::int64_t layer_elements() const {
    return shape.n_kv_heads * (head_elements(false) + head_elements(true));
  }
  std::size_t element_size() const { return dtype_size(shape.dtype); }

  const Sequence& get(SequenceId id) const {
    const auto found = sequences.find(id);
    if (found == sequences.end()) {
      throw Error(ErrorCode::kNotFound,
                  "[ContiguousCache] sequence " + std::to_string(id) +
                      " is not in the cache. It was never added, or removed.");
    }
    return found->second;
  }
  Sequence& get(SequenceId id) {
    return const_cast<Sequence&>(static_cast<const Impl*>(this)->get(id));
  }

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

  template <class T>
  void write(const Sequence& s, std::int64_t layer, std::int64_t token, const float* k,
             const float* v) const {
    write_rows(reinterpret_cast<T*>(place(s, layer, false, token)), head_elements(false),
               shape.head_dim, k, shape.n_kv_heads);
    write_rows(reinterpret_cast<T*>(place(s, layer, true, token)), head_elements(true), shape.v_dim,
               v, shape.n_kv_heads);
  }
};

namespace {

void check_size(const char* name, std::int64_t value) {
  if (value < 1 || value > (std::int64_t{1} << 31)) {
    throw Error(ErrorCode::kInvalidArgument, "[ContiguousCache] " + std::string(name) + " is " +
                                                 std::to_string(value) +
                                                 ". It must be 1 to 2147483648.");
  }
}

}  // namespace

ContiguousCache::ContiguousCache(const CacheShape& shape, std::int64_t capacity)
    : impl_(std::make_unique<Impl>()) {
  check_size("n_layers", shape.n_layers);
  check_size("n_kv_heads", shape.n_kv_heads);
  check_size("head_dim", shape.head_dim);
  check_size("capacity", capacity);
  if (shape.v_dim != 0) check_size("v_dim", shape.v_dim);
  if (shape.dtype == DType::kF64) {
    throw Error(ErrorCode::kInvalidArgument,
                "[ContiguousCache] dtype is f64. It must be f32, bf16 or f16.");
  }
  impl_->shape = shape;
  if (shape.v_dim == 0) impl_->shape.v_dim = shape.head_dim;
  impl_->capacity = capacity;
  // 2^62 bytes bound every product that place() forms.
  const double bytes = static_cast<double>(shape.n_layers) * static_cast<double>(shape.n_kv_heads) *
                       static_cast<double>(shape.head_dim + impl_->shape.v_dim) *
                       static_cast<double>(capacity) * static_cast<double>(dtype_size(shape.dtype));
  if (bytes > 0x1p62) {
    throw Error(ErrorCode::kOutOfMemory,
                "[ContiguousCache] a sequence would need " + std::to_string(bytes) + " bytes.");
  }
}
ContiguousCache::~ContiguousCache() = default;

const CacheShape& ContiguousCache::shape() const { return impl_->shape; }

SequenceId ContiguousCache::add_sequence() {
  impl_->sequences.emplace(impl_->next_id, impl_->make(Pages::kSmall));
  return impl_->next_id++;
}

void ContiguousCache::remove(SequenceId sequence) {
  impl_->get(sequence);
  impl_->sequences.erase(sequence);
}

SequenceId ContiguousCache::fork(SequenceId sequence) {
  const Sequence& from = impl_->get(sequence);
  Sequence to = impl_->copy(from, from.pages);
  impl_->sequences.emplace(impl_->next_id, std::move(to));
  return impl_->next_id++;
}

std::int64_t ContiguousCache::length(SequenceId sequence) const {
  return impl_->get(sequence).length;
}
std::int64_t ContiguousCache::capacity(SequenceId sequence) const {
  impl_->get(sequence);
  return impl_->capacity;
}

void ContiguousCache::truncate(SequenceId sequence, std::int64_t n) {
  Sequence& s = impl_->get(sequence);
  if (n < 0 || n > s.length) {
    throw Error(ErrorCode::kInvalidArgument, "[ContiguousCache] cannot truncate to " +
                                                 std::to_string(n) + " tokens. The sequence has " +
                                                 std::to_string(s.length) + ".");
  }
  set_length(s, n);
}

void ContiguousCache::extend(std::span<const SequenceId> sequences,
                             std::span<const std::int64_t> lengths) {
  if (sequences.size() != lengths.size()) {
    throw Error(ErrorCode::kInvalidArgument,
                "[ContiguousCache] " + std::to_string(sequences.size()) + " sequences but " +
                    std::to_string(lengths.size()) + " lengths were given. They must be as many.");
  }
  std::map<SequenceId, std::int64_t> grown;
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    const Sequence& s = impl_->get(sequences[i]);
    if (lengths[i] < 0) {
      throw Error(ErrorCode::kInvalidArgument, "[ContiguousCache] a length is " +
                                                   std::to_string(lengths[i]) +
                                                   ". It must be 0 or more.");
    }
    std::int64_t& length = grown.try_emplace(sequences[i], s.length).first->second;
    if (lengths[i] > impl_->capacity - length) {
      throw Error(ErrorCode::kContextFull,
                  "[ContiguousCache] sequence " + std::to_string(sequences[i]) + " holds " +
                      std::to_string(length) + " tokens and should take " +
                      std::to_string(lengths[i]) + " more. Its capacity is " +
                      std::to_string(impl_->capacity) + ".");
    }
    length += lengths[i];
  }
  for (const auto& [id, length] : grown) impl_->choose_pages(impl_->get(id), length);
  for (const auto& [id, length] : grown) set_length(impl_->get(id), length);
}

void ContiguousCache::write(SequenceId sequence, std::int64_t layer, std::int64_t first,
                            std::int64_t n, const float* k, std::int64_t k_stride, const float* v,
                            std::int64_t v_stride) noexcept {
  const Sequence& s = impl_->sequences.find(sequence)->second;
  for (std::int64_t i = 0; i < n; ++i, k += k_stride, v += v_stride) {
    switch (impl_->shape.dtype) {
      case DType::kF16:
        impl_->write<F16>(s, layer, first + i, k, v);
        break;
      case DType::kBf16:
        impl_->write<Bf16>(s, layer, first + i, k, v);
        break;
      default:
        impl_->write<float>(s, layer, first + i, k, v);
        break;
    }
  }
}

KvView ContiguousCache::view(SequenceId sequence, std::int64_t layer) const {
  const Sequence& s = impl_->get(sequence);
  const CacheShape& shape = impl_->shape;
  if (layer < 0 || layer >= shape.n_layers) {
    throw Error(ErrorCode::kInvalidArgument, "[ContiguousCache] layer is " + std::to_string(layer) +
                                                 ". The cache has " +
                                                 std::to_string(shape.n_layers) + " layers.");
  }
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

}  // namespace raptly
