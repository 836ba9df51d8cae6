#include <algorithm>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "base/aligned.h"
#include "cache/common.h"
#include "raptly/kv_view.h"

namespace raptly {
namespace {

constexpr char kWhere[] = "RollingCache";
constexpr std::int64_t kMaxRuns = 3;  // the sinks, and the ring before and after its seam

// Memory of one sequence: [layer][k heads, then v heads][slot][dim].
struct Sequence {
  AlignedBytes bytes;
  std::int64_t length = 0;
  std::int64_t first = 0;   // ordinals n_sinks .. first - 1 are evicted; >= n_sinks
  std::vector<KvRun> runs;  // kMaxRuns a layer
  std::size_t n_runs = 0;   // of each layer
};

}  // namespace

struct RollingCache::Impl {
  CacheShape shape;
  RollingOptions options;
  SequenceTable<Sequence> sequences{kWhere};

  std::int64_t ring() const { return options.window + options.slack; }
  std::int64_t slots() const { return options.n_sinks + ring(); }
  std::int64_t slot(std::int64_t ordinal) const {
    return ordinal < options.n_sinks ? ordinal
                                     : options.n_sinks + (ordinal - options.n_sinks) % ring();
  }
  std::int64_t max_chunk(const Sequence& s) const {
    return std::max(options.slack + 1, slots() - s.length);
  }

  std::byte* place(const Sequence& s, std::int64_t layer, bool value, std::int64_t slot) const {
    const std::int64_t head = shape.n_kv_heads * slots();
    const std::int64_t start = layer * head * (shape.head_dim + shape.v_dim) +
                               (value ? head * shape.head_dim : 0) +
                               slot * (value ? shape.v_dim : shape.head_dim);
    return s.bytes.data() + static_cast<std::size_t>(start) * dtype_size(shape.dtype);
  }

  // All memory is touched now, so that a sequence never takes more later.
  Sequence make() const {
    Sequence s;
    s.bytes = AlignedBytes(token_bytes(shape) * static_cast<std::size_t>(slots()));
    std::memset(s.bytes.data(), 0, s.bytes.size());
    s.first = options.n_sinks;
    s.runs.resize(static_cast<std::size_t>(shape.n_layers * kMaxRuns));
    return s;
  }

  void set_length(Sequence& s, std::int64_t length) const {
    s.length = length;
    s.first = length <= options.n_sinks ? options.n_sinks : std::max(s.first, length - ring());
    struct Stretch {
      std::int64_t first, n;
    };
    std::size_t used = 0;
    Stretch stretches[kMaxRuns];
    const auto add = [&](std::int64_t first, std::int64_t n) {
      if (n > 0) stretches[used++] = {first, n};
    };
    add(0, std::min(length, options.n_sinks));
    if (length > options.n_sinks) {
      const std::int64_t to_seam = options.n_sinks + ring() - slot(s.first);
      add(s.first, std::min(to_seam, length - s.first));
      add(s.first + to_seam, length - s.first - to_seam);
    }
    s.n_runs = used;
    for (std::int64_t layer = 0; layer < shape.n_layers; ++layer) {
      for (std::size_t i = 0; i < used; ++i) {
        const std::int64_t at = slot(stretches[i].first);
        s.runs[static_cast<std::size_t>(layer * kMaxRuns) + i] = {
            place(s, layer, false, at), place(s, layer, true, at), nullptr, nullptr, stretches[i].n,
            stretches[i].first};
      }
    }
  }
};

RollingCache::RollingCache(const CacheShape& shape, const RollingOptions& options)
    : impl_(std::make_unique<Impl>()) {
  impl_->shape = checked_shape(kWhere, shape);
  check_size(kWhere, "window", options.window);
  check_size(kWhere, "slack", options.slack, 0);
  check_size(kWhere, "n_sinks", options.n_sinks, 0);
  impl_->options = options;
  check_bytes(kWhere, impl_->shape, impl_->slots());
}
RollingCache::~RollingCache() = default;

const CacheShape& RollingCache::shape() const { return impl_->shape; }
CacheWindow RollingCache::window() const { return {impl_->options.window, impl_->options.n_sinks}; }

SequenceId RollingCache::add(std::span<const std::int32_t>) {
  return impl_->sequences.add(impl_->make());
}

void RollingCache::remove(SequenceId sequence) {
  impl_->sequences.get(sequence);
  impl_->sequences.erase(sequence);
}

SequenceId RollingCache::fork(SequenceId sequence) {
  const Sequence& from = impl_->sequences.get(sequence);
  Sequence to = impl_->make();
  std::memcpy(to.bytes.data(), from.bytes.data(), from.bytes.size());
  to.first = from.first;
  impl_->set_length(to, from.length);
  return impl_->sequences.add(std::move(to));
}

std::int64_t RollingCache::length(SequenceId sequence) const {
  return impl_->sequences.get(sequence).length;
}
std::int64_t RollingCache::capacity(SequenceId sequence) const {
  impl_->sequences.get(sequence);
  return std::numeric_limits<std::int64_t>::max();
}
std::int64_t RollingCache::first_kept(SequenceId sequence) const {
  return impl_->sequences.get(sequence).first;
}
std::int64_t RollingCache::max_chunk(SequenceId sequence) const {
  return impl_->max_chunk(impl_->sequences.get(sequence));
}

void RollingCache::truncate(SequenceId sequence, std::int64_t n) {
  Sequence& s = impl_->sequences.get(sequence);
  check_truncate(kWhere, n, s.length);
  if (rollback_point(sequence, n) != n) {
    reject(kWhere, "cannot truncate to " + std::to_string(n) +
                       " tokens: the window before them is evicted. Legal are " +
                       std::to_string(s.first + impl_->options.window - 1) + " to " +
                       std::to_string(s.length) + ", and 0 to " +
                       std::to_string(impl_->options.n_sinks) + ".");
  }
  impl_->set_length(s, n);
}

void RollingCache::grow(std::span<const SequenceId> sequences,
                        std::span<const std::int64_t> lengths,
                        std::span<const std::int32_t> tokens) {
  const auto grown = growth(kWhere, sequences, lengths, tokens);
  for (const auto& [id, more] : grown) {
    const Sequence& s = impl_->sequences.get(id);
    if (more <= impl_->max_chunk(s)) continue;
    reject(kWhere,
           "sequence " + std::to_string(id) + " should take " + std::to_string(more) +
               " tokens at once. With a window of " + std::to_string(impl_->options.window) +
               " and a slack of " + std::to_string(impl_->options.slack) + " it takes " +
               std::to_string(impl_->max_chunk(s)) + " now: give longer prompts in chunks.");
  }
  for (const auto& [id, more] : grown) {
    Sequence& s = impl_->sequences.get(id);
    impl_->set_length(s, s.length + more);
  }
}

void RollingCache::write(SequenceId sequence, std::int64_t layer, std::int64_t first,
                         std::int64_t n, const float* k, std::int64_t k_stride, const float* v,
                         std::int64_t v_stride) noexcept {
  const Sequence& s = impl_->sequences.known(sequence);
  const CacheShape& shape = impl_->shape;
  for (std::int64_t i = 0; i < n; ++i, k += k_stride, v += v_stride) {
    const std::int64_t slot = impl_->slot(first + i);
    store_rows(shape, false, k, impl_->place(s, layer, false, slot),
               impl_->slots() * shape.head_dim);
    store_rows(shape, true, v, impl_->place(s, layer, true, slot), impl_->slots() * shape.v_dim);
  }
}

KvView RollingCache::view(SequenceId sequence, std::int64_t layer) const {
  const Sequence& s = impl_->sequences.get(sequence);
  const CacheShape& shape = impl_->shape;
  check_layer(kWhere, shape, layer);
  KvView view;
  view.runs = {s.runs.data() + layer * kMaxRuns, s.n_runs};
  view.dtype = shape.dtype;
  view.k_token_stride = shape.head_dim;
  view.k_head_stride = impl_->slots() * shape.head_dim;
  view.v_token_stride = shape.v_dim;
  view.v_head_stride = impl_->slots() * shape.v_dim;
  view.length = s.length;
  return view;
}

std::size_t RollingCache::nbytes() const {
  std::size_t total = 0;
  for (const auto& [id, s] : impl_->sequences) total += s.bytes.size();
  return total;
}

CacheStats RollingCache::stats() const {
  CacheStats stats;
  std::int64_t tokens = 0;
  for (const auto& [id, s] : impl_->sequences) {
    tokens +=
        std::min(s.length, impl_->options.n_sinks) + std::max<std::int64_t>(0, s.length - s.first);
  }
  stats.bytes_used = nbytes();
  stats.bytes_wasted =
      stats.bytes_used - static_cast<std::size_t>(tokens) * token_bytes(impl_->shape);
  return stats;
}

}  // namespace raptly
