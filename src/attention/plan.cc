#include "attention/plan.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <functional>
#include <map>
#include <vector>

#include "attention/head_sets.h"
#include "attention/plan_bias.h"
#include "attention/validate.h"
#include "attention/work_list.h"
#include "base/thread_pool.h"
#include "kernels/flash_forward/flash_forward.h"
#include "kernels/flash_forward/reference.h"
#include "mask/predicate.h"
#include "mask/rule.h"

namespace raptly {
namespace {

std::size_t round_up(std::size_t n) { return (n + 63) / 64 * 64; }

}  // namespace

struct AttentionPlan::Impl {
  AttentionShape shape;
  HeadSets heads;
  int lanes = 1;         // heads_per_set, as kernels take it
  int tile_queries = 1;  // of prefill
  double scale = 1;
  float softcap = 0;
  ExecutionContext* context = nullptr;
  Isa level = Isa::kScalar;  // of the kernels, for these dtypes
  std::vector<TilePlan> plans;
  std::vector<MaskPredicate> predicates;  // of each sequence and head set; f64 only
  std::vector<PlannedSequence> sequences;
  WorkList work;
  std::vector<std::atomic<std::int64_t>> open_splits;  // of each merge, while a run is on

  AttentionBias bias;

  Workspace own_workspace;
  Workspace* workspace = nullptr;  // own or shared
  std::byte* memory = nullptr;     // its, during a run
  std::size_t thread_bytes = 0;    // of the memory, for each thread
  std::size_t state_floats = 0;    // of one decode state
  float* states = nullptr;

  PlanReport report;

  bool is_reference() const { return shape.q_dtype == DType::kF64; }
  void plan_tiles(std::span<const SequenceGeometry> geometry, const Mask& mask);
  int queries_of_tile(const Mask& mask) const;
  void size_workspace(Workspace* shared);
  void find_memory() noexcept;
  void fill_report(std::span<const SequenceGeometry> geometry);
  FlashForwardItem item(std::size_t sequence, const SequenceTensors& tensors,
                        const RowStrides& strides, std::int64_t first_head) const;
  void run_prefill(const PrefillWork& part, std::span<const SequenceTensors> tensors,
                   const RowStrides& strides, std::byte* scratch) noexcept;
  void run_decode(const DecodeWork& part, std::span<const SequenceTensors> tensors,
                  const RowStrides& strides, std::byte* scratch) noexcept;
};

// Of prefill. Tiles that fill the kernel's lanes cut most blocks of 64 queries in two, and are
// partial: BigBird over 16k tokens 71 ms, with a block a tile 67.
int AttentionPlan::Impl::queries_of_tile(const Mask& mask) const {
  const int full_lanes = flash_forward_tile_queries(lanes, level);
  const std::int64_t block = mask.rule() == nullptr ? 1 : mask.rule()->query_block();
  const bool fits = kMaxTileQueries % block == 0 || block % kMaxTileQueries == 0;
  return lanes == 1 && full_lanes % block != 0 && fits ? kMaxTileQueries : full_lanes;
}

// One tile plan for all sequences of the same geometry, unless the mask tells batch entries apart,
// and for all heads that see the same pairs.
void AttentionPlan::Impl::plan_tiles(std::span<const SequenceGeometry> geometry, const Mask& mask) {
  const bool shared = mask.rule() == nullptr || mask.rule()->batch() == 0;
  const std::vector<std::int64_t> planned_heads = heads_to_plan(mask, heads);
  using Key = std::array<std::int64_t, 6>;
  std::map<Key, std::size_t> known;
  std::vector<std::size_t> plan_of;
  tile_queries = queries_of_tile(mask);
  for (std::size_t i = 0; i < geometry.size(); ++i) {
    const SequenceGeometry& g = geometry[i];
    const auto entry = shared ? std::int64_t{0} : static_cast<std::int64_t>(i);
    const bool decode = !is_reference() && g.q_len * lanes <= kMaxDecodeRows;
    for (const std::int64_t head : planned_heads) {
      const Key key{g.q_len, g.kv_len, g.first_position, g.first_key, entry, head};
      const auto [found, is_new] = known.try_emplace(key, plans.size());
      plan_of.push_back(found->second);
      if (!is_new) continue;
      plans.emplace_back(mask, MaskScope{entry, head, g.q_len, g.kv_len, g.first_position},
                         decode ? kMaxDecodeRows : tile_queries);
      plans.back().skip_keys_before(g.first_key);
    }
    sequences.push_back({{}, decode});
    for (std::int64_t set = 0; is_reference() && set < heads.n_sets; ++set) {
      predicates.emplace_back(mask, MaskScope{static_cast<std::int64_t>(i), set * lanes, g.q_len,
                                              g.kv_len, g.first_position});
    }
  }
  for (std::size_t i = 0; i < plan_of.size(); ++i) {  // once plans has stopped growing
    sequences[i / planned_heads.size()].plans.push_back(&plans[plan_of[i]]);
  }
}

void AttentionPlan::Impl::size_workspace(Workspace* shared) {
  FlashForwardSize size;
  size.max_tiles = std::max<std::int64_t>(1, work.max_tiles);
  size.tile_queries = tile_queries;
  size.group = lanes;
  size.head_dim = static_cast<int>(shape.head_dim);
  size.v_dim = static_cast<int>(shape.v_dim);
  int decode_rows = 0;
  for (const PlannedSequence& s : sequences) {
    const MaskScope& scope = s.plan(0).scope();
    size.kv_len = std::max(size.kv_len, scope.kv_len);
    if (s.decode) decode_rows = std::max(decode_rows, static_cast<int>(scope.q_len) * lanes);
  }
  std::size_t bytes = 0;
  if (!work.prefill.empty() && !is_reference()) bytes = flash_forward_workspace_bytes(size, level);
  if (!work.decode.empty()) {
    bytes = std::max(bytes, flash_decode_workspace_bytes(size, level));
    state_floats = round_up(flash_decode_state_floats(decode_rows, size.v_dim) * 4) / 4;
  }
  thread_bytes = round_up(bytes);
  const std::size_t all_threads = thread_bytes * static_cast<std::size_t>(context->threads());
  const std::size_t all_states = state_floats * 4 * static_cast<std::size_t>(work.n_states);
  workspace = shared ? shared : &own_workspace;
  workspace->at_least(all_threads + all_states);
  report.workspace_bytes = all_threads + all_states;
  open_splits = std::vector<std::atomic<std::int64_t>>(work.merges.size());
}

// A plan made since may have moved a workspace that plans share; it never shrinks.
void AttentionPlan::Impl::find_memory() noexcept {
  memory = workspace->at_least(report.workspace_bytes);
  states = reinterpret_cast<float*>(memory +
                                    thread_bytes * static_cast<std::size_t>(context->threads()));
}

void AttentionPlan::Impl::fill_report(std::span<const SequenceGeometry> geometry) {
  const bool prefill = !work.prefill.empty(), decode = !work.decode.empty();
  report.kernel = prefill && decode ? "prefill + decode"
                  : decode          ? "decode"
                  : prefill         ? "prefill"
                                    : "none";
  report.kernel += std::string(" ") + dtype_name(shape.kv_dtype) + " " + isa_name(level);
  if (is_reference()) report.kernel = "reference f64";
  report.reason = is_reference()
                      ? "f64 tensors take the textbook loops"
                      : "decode takes sequences with at most " + std::to_string(kMaxDecodeRows) +
                            " rows a key head (q_len * heads that share lanes, " +
                            std::to_string(lanes) + "), prefill the others";
  report.n_items = work.n_items();
  report.threads = context->threads();
  const double kv_size = static_cast<double>(dtype_size(shape.kv_dtype));
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    const auto& plans_of = sequences[i].plans;
    for (const TilePlan* tiles : plans_of) {
      report.tiles_full += tiles->n_full();
      report.tiles_partial += tiles->n_partial();
      report.tiles_empty += tiles->n_empty();
      report.visible_pairs += static_cast<double>(tiles->visible_pairs()) *
                              static_cast<double>(shape.n_heads) /
                              static_cast<double>(plans_of.size());
    }
    const auto kv_len = static_cast<double>(geometry[i].kv_len),
               q_len = static_cast<double>(geometry[i].q_len);
    report.n_splits = std::max(report.n_splits, (geometry[i].kv_len + kSplitKeys - 1) / kSplitKeys);
    report.bytes +=
        kv_len * static_cast<double>(shape.n_kv_heads * (shape.head_dim + shape.v_dim)) * kv_size +
        q_len * static_cast<double>(shape.n_heads) *
            (static_cast<double>(shape.head_dim) * static_cast<double>(dtype_size(shape.q_dtype)) +
             static_cast<double>(shape.v_dim) * static_cast<double>(dtype_size(shape.out_dtype)));
  }
  report.flops = 2 * report.visible_pairs * static_cast<double>(shape.head_dim + shape.v_dim);
}

FlashForwardItem AttentionPlan::Impl::item(std::size_t sequence, const SequenceTensors& tensors,
                                           const RowStrides& strides,
                                           std::int64_t first_head) const {
  FlashForwardItem item;
  item.first_head = first_head;
  item.kv_head = first_head / (shape.n_heads / shape.n_kv_heads);
  item.group = lanes;
  item.head_dim = static_cast<int>(shape.head_dim);
  item.v_dim = static_cast<int>(shape.v_dim);
  item.scale = scale;
  item.softcap = softcap;
  item.bias = bias.of(sequence);
  item.sinks = bias.sinks();
  item.q = tensors.q;
  item.q_dtype = shape.q_dtype;
  item.q_token_stride = strides.q_token;
  item.q_head_stride = strides.q_head;
  item.q_dim_stride = strides.q_dim;
  item.out = tensors.out;
  item.out_dtype = shape.out_dtype;
  item.out_token_stride = strides.out_token;
  item.out_head_stride = strides.out_head;
  item.out_dim_stride = strides.out_dim;
  item.lse = tensors.lse;
  item.lse_head_stride = strides.lse_head;
  item.lse_token_stride = strides.lse_token;
  item.kv = &tensors.kv;
  item.initial = tensors.initial_states;
  item.final = tensors.final_states;
  return item;
}

void AttentionPlan::Impl::run_decode(const DecodeWork& part,
                                     std::span<const SequenceTensors> tensors,
                                     const RowStrides& strides, std::byte* scratch) noexcept {
  const auto m = static_cast<std::size_t>(part.merge);
  const DecodeMerge& merge = work.merges[m];
  const auto s = static_cast<std::size_t>(merge.sequence);
  FlashForwardItem row = item(s, tensors[s], strides, merge.first_head);
  row.tiles = sequences[s].plan(merge.first_head / lanes).tiles();
  float* first_state = states + static_cast<std::size_t>(merge.state_begin) * state_floats;
  for (std::int64_t split = part.split_begin; split < part.split_end; ++split) {
    const auto index = static_cast<std::size_t>(split - merge.first_split);
    flash_decode_split(row, split, first_state + index * state_floats, scratch, level);
  }
  const std::int64_t done = std::max<std::int64_t>(1, part.split_end - part.split_begin);
  if (open_splits[m].fetch_sub(done, std::memory_order_acq_rel) == done) {
    flash_decode_merge(row, {first_state, merge.n_splits, static_cast<std::int64_t>(state_floats)},
                       scratch, level);
  }
}

void AttentionPlan::Impl::run_prefill(const PrefillWork& part,
                                      std::span<const SequenceTensors> tensors,
                                      const RowStrides& strides, std::byte* scratch) noexcept {
  const auto s = static_cast<std::size_t>(part.sequence);
  FlashForwardItem rows = item(s, tensors[s], strides, part.first_head);
  const std::int64_t head_set = part.first_head / lanes;
  rows.tiles = sequences[s].plan(head_set).tiles().subspan(
      static_cast<std::size_t>(part.tile_begin),
      static_cast<std::size_t>(part.tile_end - part.tile_begin));
  if (!is_reference()) return flash_forward(rows, scratch, level);
  const QueryRange queries{rows.tiles.front().first_query,
                           rows.tiles.back().first_query + rows.tiles.back().n_queries};
  const auto n_sets = static_cast<std::size_t>(heads.n_sets);
  flash_forward_reference(rows, queries,
                          std::ref(predicates[s * n_sets + static_cast<std::size_t>(head_set)]));
}

AttentionPlan::AttentionPlan(const AttentionShape& shape,
                             std::span<const SequenceGeometry> sequences,
                             const AttentionOptions& options, ExecutionContext& context,
                             Workspace* workspace) {
  check_plan(shape, sequences, options);
  impl_ = std::make_unique<Impl>();
  Impl& p = *impl_;
  p.shape = shape;
  p.heads = head_sets(options.mask, shape.n_heads, shape.n_kv_heads);
  p.lanes = static_cast<int>(p.heads.heads_per_set);
  const auto head_dim = static_cast<double>(shape.head_dim);
  p.scale = options.scale ? static_cast<double>(*options.scale)
            : p.is_reference()
                ? 1 / std::sqrt(head_dim)
                : static_cast<double>(1.0f / std::sqrt(static_cast<float>(head_dim)));
  p.softcap = options.softcap.value_or(0.0f);
  p.context = &context;
  p.level = flash_forward_level(context.isa(), shape.q_dtype, shape.kv_dtype);
  p.plan_tiles(sequences, options.mask);
  p.bias = AttentionBias(options, sequences, shape.n_heads, p.lanes);
  context.pool().start();  // so that run() allocates nothing
  p.work = make_work_list(p.sequences, p.heads, context.threads());
  p.size_workspace(workspace);
  p.fill_report(sequences);
}
AttentionPlan::~AttentionPlan() = default;
AttentionPlan::AttentionPlan(AttentionPlan&&) noexcept = default;
AttentionPlan& AttentionPlan::operator=(AttentionPlan&&) noexcept = default;

void AttentionPlan::run(std::span<const SequenceTensors> tensors,
                        const RowStrides& strides) noexcept {
  Impl& p = *impl_;
  p.find_memory();
  for (std::size_t m = 0; m < p.work.merges.size(); ++m) {
    p.open_splits[m].store(std::max<std::int64_t>(1, p.work.merges[m].n_splits),
                           std::memory_order_relaxed);
  }
  const auto n_prefill = static_cast<std::int64_t>(p.work.prefill.size());
  p.context->pool().parallel_for(p.work.n_items(), [&](std::int64_t i, int worker) {
    std::byte* scratch = p.memory + p.thread_bytes * static_cast<std::size_t>(worker);
    if (i >= n_prefill) {
      p.run_decode(p.work.decode[static_cast<std::size_t>(i - n_prefill)], tensors, strides,
                   scratch);
      return;
    }
    p.run_prefill(p.work.prefill[static_cast<std::size_t>(i)], tensors, strides, scratch);
  });
}

const PlanReport& AttentionPlan::report() const { return impl_->report; }

std::string AttentionPlan::explain() const {
  const PlanReport& r = impl_->report;
  char text[640];
  std::snprintf(
      text, sizeof(text),
      "kernel     %s (%s)\nwork       %lld items on %d threads, at most %lld splits of %lld keys\n"
      "tiles      %lld full, %lld partial, %lld empty (skipped)\n"
      "flops      %.4g, bytes %.4g, visible pairs %.4g\nworkspace  %zu bytes\n",
      r.kernel.c_str(), r.reason.c_str(), static_cast<long long>(r.n_items), r.threads,
      static_cast<long long>(r.n_splits), static_cast<long long>(kSplitKeys),
      static_cast<long long>(r.tiles_full), static_cast<long long>(r.tiles_partial),
      static_cast<long long>(r.tiles_empty), r.flops, r.bytes, r.visible_pairs, r.workspace_bytes);
  return text;
}

}  // namespace raptly
