#include "attention/backward_pass.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <utility>
#include <vector>

#include "attention/backward_items.h"
#include "attention/backward_sums.h"
#include "attention/backward_visits.h"
#include "attention/head_sets.h"
#include "base/aligned.h"
#include "base/thread_pool.h"
#include "mask/rule.h"

namespace raptly {
namespace {

// Turns at the sums of a chunk: ranges of keys add to them in order. A range waits only for lower
// ones, which threads took before it.
class Turns {
 public:
  explicit Turns(std::int64_t n) : next_(static_cast<std::size_t>(n)) {}

  void wait(std::int64_t chunk, std::int32_t rank) {
    constexpr int kSpins = 2000;
    std::atomic<std::int32_t>& next = next_[static_cast<std::size_t>(chunk)];
    for (int i = 0; i < kSpins; ++i) {
      if (next.load(std::memory_order_acquire) == rank) return;
    }
    for (std::int32_t at = next.load(std::memory_order_acquire); at != rank;
         at = next.load(std::memory_order_acquire)) {
      next.wait(at, std::memory_order_acquire);
    }
  }
  void done(std::int64_t chunk, std::int32_t rank) {
    std::atomic<std::int32_t>& next = next_[static_cast<std::size_t>(chunk)];
    next.store(rank + 1, std::memory_order_release);
    next.notify_all();
  }

 private:
  std::vector<std::atomic<std::int32_t>> next_;
};

class BackwardPass {
 public:
  BackwardPass(const BackwardInputs& inputs, const AttentionGradients& gradients,
               const AttentionOptions& options, const PlanShape& shape, ExecutionContext& context)
      : gradients_(gradients),
        options_(options),
        shape_(shape),
        context_(context),
        heads_(head_sets(options.mask, shape.n_heads, shape.n_kv_heads)),
        lanes_(static_cast<int>(heads_.heads_per_set)),
        items_(inputs, gradients, options, shape, lanes_),
        units_(make_units()),
        range_keys_(choose_range_keys()),
        n_ranges_((shape.kv_len + range_keys_ - 1) / range_keys_) {
    if (gradients.dbias.given()) sums_ = BackwardBiasSums(options.bias, shape, n_ranges_);
    plan();
    allocate();
  }

  void run() {
    run_rows();
    run_ranges();
    if (gradients_.dbias.given()) {
      sums_.write(options_.bias, gradients_.dbias, gradients_.accumulate);
    }
    if (gradients_.dsinks.given()) write_sinks();
  }

 private:
  // Key heads, (batch, key head), that one thread takes in order: they share elements of dbias.
  using Unit = std::vector<std::pair<std::int64_t, std::int64_t>>;

  bool dense_gradient() const {
    return gradients_.dbias.given() && options_.bias.terms()->kind == BiasKind::kDense;
  }
  std::vector<Unit> make_units() const {
    const bool join_batch = dense_gradient() && gradients_.dbias.size(0) == 1;
    const bool join_heads = dense_gradient() && gradients_.dbias.size(1) == 1;
    const std::int64_t n_batch = join_batch ? 1 : shape_.batch;
    const std::int64_t n_heads = join_heads ? 1 : shape_.n_kv_heads;
    std::vector<Unit> units(static_cast<std::size_t>(n_batch * n_heads));
    for (std::int64_t b = 0; b < shape_.batch; ++b) {
      for (std::int64_t h = 0; h < shape_.n_kv_heads; ++h) {
        const std::int64_t unit = (join_batch ? 0 : b) * n_heads + (join_heads ? 0 : h);
        units[static_cast<std::size_t>(unit)].emplace_back(b, h);
      }
    }
    return units;
  }
  // Never seen in the bits of dq, dk, dv and a dense dbias; sums of others are per range.
  std::int64_t choose_range_keys() const {
    const bool fixed = gradients_.dbias.given() && !dense_gradient();
    const std::int64_t n = static_cast<std::int64_t>(units_.size()) *
                           ((shape_.kv_len + kMaxRangeKeys - 1) / kMaxRangeKeys);
    return fixed || n >= 4 * context_.threads() ? kMaxRangeKeys : kBlockKeys;
  }

  void plan() {
    const std::int64_t entries =
        options_.mask.rule() ? std::max<std::int64_t>(1, options_.mask.rule()->batch()) : 1;
    const std::vector<std::int64_t> heads = heads_to_plan(options_.mask, heads_);
    std::vector<std::size_t> index;
    for (const std::int64_t head : heads) {
      const auto known =
          std::find(heads.begin(), heads.begin() + static_cast<std::ptrdiff_t>(index.size()), head);
      const auto at = static_cast<std::size_t>(known - heads.begin());
      if (at < index.size()) {
        index.push_back(index[at]);
        continue;
      }
      index.push_back(visits_.size());
      for (std::int64_t b = 0; b < entries; ++b) {
        visits_.emplace_back(options_.mask,
                             bottom_right_scope(shape_.q_len, shape_.kv_len, b, head), lanes_,
                             range_keys_);
      }
    }
    entries_ = entries;
    visits_of_set_ = std::move(index);
  }
  const BackwardVisits& visits(std::int64_t b, std::int64_t set) const {
    const std::size_t first =
        visits_of_set_[visits_of_set_.size() == 1 ? 0 : static_cast<std::size_t>(set)];
    return visits_[first + (entries_ == 1 ? 0 : static_cast<std::size_t>(b))];
  }

  void allocate() {
    if (!visits_.empty()) {
      n_strips_ = visits_[0].n_strips();
      n_chunks_ = visits_[0].n_chunks();
    }
    const std::int64_t n_sets = shape_.batch * heads_.n_sets;
    terms_ = AlignedArray<StripTerms>(static_cast<std::size_t>(n_sets * n_strips_));
    if (gradients_.dq.given()) {
      dq_sums_ = AlignedArray<float>(
          static_cast<std::size_t>(n_sets * n_strips_ * dq_sum_floats(shape_.head_dim)));
      turns_.emplace(n_sets * n_chunks_);
    }
    thread_bytes_ =
        (flash_backward_workspace_bytes(static_cast<int>(shape_.head_dim),
                                        static_cast<int>(shape_.v_dim), context_.isa()) +
         63) /
        64 * 64;
    workspace_ = AlignedBytes(thread_bytes_ * static_cast<std::size_t>(context_.threads()));
  }
  std::byte* scratch(int worker) const {
    return workspace_.data() + thread_bytes_ * static_cast<std::size_t>(worker);
  }
  StripTerms* terms(std::int64_t b, std::int64_t set, std::int64_t chunk) const {
    return terms_.data() + (b * heads_.n_sets + set) * n_strips_ + chunk * kChunkStrips;
  }

  // m, factor and delta of all rows; dq of rows that see nothing.
  void run_rows() {
    const std::int64_t n = shape_.batch * heads_.n_sets * n_chunks_;
    context_.pool().parallel_for(n, [&](std::int64_t i, int worker) {
      const std::int64_t b = i / n_chunks_ / heads_.n_sets, set = i / n_chunks_ % heads_.n_sets;
      const std::int64_t c = i % n_chunks_;
      const FlashBackwardItem item = items_.item(b, set * lanes_);
      const QueryChunk chunk = visits(b, set).chunk(c);
      StripTerms* of_chunk = terms(b, set, c);
      for (std::size_t s = 0; s < chunk.size(); ++s) {
        flash_backward_rows(item, chunk[s], of_chunk[s], scratch(worker), context_.isa());
      }
      if (gradients_.dq.given() && visits(b, set).n_visits(c) == 0) {
        flash_backward_no_keys(item, chunk, scratch(worker), context_.isa());
      }
    });
  }

  // Threads take ranges in order: the pool's own ranges would make them wait for each other.
  void run_ranges() {
    const std::int64_t n = static_cast<std::int64_t>(units_.size()) * n_ranges_;
    const bool in_order = sums_.in_order() || (dense_gradient() && gradients_.dbias.size(3) == 1);
    const std::int64_t workers = in_order ? 1 : std::min<std::int64_t>(context_.threads(), n);
    std::atomic<std::int64_t> next = 0;
    context_.pool().parallel_for(workers, [&](std::int64_t, int worker) {
      for (std::int64_t i = next.fetch_add(1); i < n; i = next.fetch_add(1)) {
        for (const auto& [b, kv_head] : units_[static_cast<std::size_t>(i / n_ranges_)]) {
          run_range(b, kv_head, i % n_ranges_, scratch(worker));
        }
      }
    });
  }

  void run_range(std::int64_t b, std::int64_t kv_head, std::int64_t range, std::byte* workspace) {
    const std::int64_t sets = heads_.n_sets / shape_.n_kv_heads, first_set = kv_head * sets;
    const KeyRangeOfItem keys{range * range_keys_,
                              std::min(range_keys_, shape_.kv_len - range * range_keys_)};
    const FlashBackwardItem first = items_.item(b, first_set * lanes_);
    flash_backward_begin(first, keys, workspace, context_.isa());
    for (std::int64_t set = first_set; set < first_set + sets; ++set) {
      const FlashBackwardItem item = items_.item(b, set * lanes_);
      for (const ChunkVisit& visit : visits(b, set).visits(range)) {
        run_visit(item, b, set, range, visit, workspace);
      }
    }
    flash_backward_end(first, workspace, context_.isa());
  }

  void run_visit(const FlashBackwardItem& item, std::int64_t b, std::int64_t set,
                 std::int64_t range, const ChunkVisit& visit, std::byte* workspace) {
    const BackwardVisits& of = visits(b, set);
    const QueryChunk chunk = of.chunk(visit.chunk);
    const BackwardSums sums = sums_.wanted() ? sums_.of(b, range, set * lanes_) : BackwardSums();
    flash_backward_chunk(item, chunk, terms(b, set, visit.chunk), sums, workspace, context_.isa());
    if (!gradients_.dq.given()) return;
    const std::int64_t index = b * heads_.n_sets + set;
    const std::int64_t strip = index * n_strips_ + visit.chunk * kChunkStrips;
    const QueryTurn turn{dq_sums_.data() + strip * dq_sum_floats(shape_.head_dim), visit.rank == 0,
                         visit.rank + 1 == of.n_visits(visit.chunk)};
    turns_->wait(index * n_chunks_ + visit.chunk, visit.rank);
    flash_backward_queries(item, chunk, turn, workspace, context_.isa());
    turns_->done(index * n_chunks_ + visit.chunk, visit.rank);
  }

  void write_sinks() {
    const TensorView& sinks = options_.sinks;
    context_.pool().parallel_for(shape_.n_heads, [&](std::int64_t h, int) {
      const float sink = sinks.as<float>()[h * sinks.stride(0)];
      double sum = 0;
      for (std::int64_t b = 0; b < shape_.batch; ++b) {
        const std::int64_t set = h / lanes_;
        for (std::int64_t c = 0; c < n_chunks_; ++c) {
          sum += sink_gradient_of(sink, visits(b, set).chunk(c), terms(b, set, c), lanes_,
                                  static_cast<int>(h % lanes_));
        }
      }
      write_sum(gradients_.dsinks, h * gradients_.dsinks.stride(0), sum, gradients_.accumulate);
    });
  }

  const AttentionGradients& gradients_;
  const AttentionOptions& options_;
  PlanShape shape_;
  ExecutionContext& context_;
  HeadSets heads_;
  int lanes_;
  BackwardItems items_;
  std::vector<Unit> units_;
  std::int64_t range_keys_, n_ranges_;
  BackwardBiasSums sums_;
  std::vector<BackwardVisits> visits_;  // [head planned][entries_]
  std::vector<std::size_t> visits_of_set_;
  std::int64_t entries_ = 1, n_strips_ = 0, n_chunks_ = 0;
  AlignedArray<StripTerms> terms_;  // [batch][set][strip]
  AlignedArray<float> dq_sums_;     // the same
  std::optional<Turns> turns_;      // [batch][set][chunk]
  AlignedBytes workspace_;
  std::size_t thread_bytes_ = 0;
};

}  // namespace

void run_backward(const BackwardInputs& inputs, const AttentionGradients& gradients,
                  const AttentionOptions& options, const PlanShape& shape,
                  ExecutionContext& context) {
  if (shape.batch == 0 || shape.n_heads == 0) return;
  mask_detail::within_memory(bottom_right_scope(shape.q_len, shape.kv_len, 0, 0), [&] {
    BackwardPass(inputs, gradients, options, shape, context).run();
  });
}

}  // namespace raptly
