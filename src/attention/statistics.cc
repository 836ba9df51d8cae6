#include "raptly/statistics.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "attention/plan.h"
#include "attention/plan_bias.h"
#include "attention/row_copy.h"
#include "attention/tensor_checks.h"
#include "attention/validate.h"
#include "base/aligned.h"
#include "base/thread_pool.h"
#include "kernels/row_statistics/reference.h"
#include "kernels/row_statistics/row_statistics.h"
#include "mask/predicate.h"
#include "mask/rule.h"

namespace raptly {
namespace {

const TensorChecks kChecks("attention_statistics");

void check_rows(const char* name, const TensorView& t, const TensorView& q, std::int64_t len,
                const char* len_name) {
  kChecks.rank(name, t, "[batch, n_heads, length]", 3);
  const std::string of = std::string(" of ") + name;
  kChecks.equal("batch" + of, t.size(0), "batch of q", q.size(0));
  kChecks.equal("n_heads" + of, t.size(1), "n_heads of q", q.size(2));
  kChecks.equal(len_name + of, t.size(2), len_name, len);
  if (t.dtype() != DType::kF32) {
    kChecks.fail(std::string(name) + " is " + dtype_name(t.dtype()) + ". It must be f32.",
                 ErrorCode::kTypeMismatch);
  }
  kChecks.memory(name, t);
}

struct Inputs {
  const TensorView &q, &k, &lse;
};

void check_output(const char* name, const MutableTensorView& t, const Inputs& inputs,
                  std::int64_t len, const char* len_name) {
  if (!t.given()) return;
  check_rows(name, t, inputs.q, len, len_name);
  kChecks.own_places(name, t);
  kChecks.apart(name, t, "q", inputs.q);
  kChecks.apart(name, t, "k", inputs.k);
  kChecks.apart(name, t, "lse", inputs.lse);
}

void check_top(const AttentionStatistics& wanted, const TensorView& q) {
  if (wanted.top_k < 0 || wanted.top_k > 4096) {
    kChecks.fail("top_k is " + std::to_string(wanted.top_k) + ". It must be 0 .. 4096.");
  }
  const std::int64_t n = q.size(0) * q.size(1) * q.size(2) * wanted.top_k;
  kChecks.equal("the size of top_index", static_cast<std::int64_t>(wanted.top_index.size()),
                "batch * n_heads * q_len * top_k", n);
  kChecks.equal("the size of top_weight", static_cast<std::int64_t>(wanted.top_weight.size()),
                "batch * n_heads * q_len * top_k", n);
}

class Statistics {
 public:
  Statistics(const TensorView& q, const TensorView& k, const TensorView& lse,
             const AttentionStatistics& wanted, const AttentionOptions& options,
             ExecutionContext& context)
      : q_(q), k_(k), lse_(lse), wanted_(wanted), options_(options), context_(context) {
    const auto batch = static_cast<std::size_t>(q.size(0));
    runs_.resize(batch);
    views_.resize(batch);
    for (std::size_t i = 0; i < batch; ++i) {
      runs_[i].k = RowsAt::of_entry(k.data(), k, static_cast<std::int64_t>(i)).at;
      runs_[i].n = kv_len();
      views_[i] = {{&runs_[i], kv_len() > 0 ? std::size_t{1} : 0},
                   k.dtype(),
                   k.stride(1),
                   k.stride(2),
                   k.stride(3),
                   0,
                   0,
                   1,
                   kv_len()};
    }
  }

  void plan() {
    const std::int64_t entries = options_.mask.rule() == nullptr
                                     ? 1
                                     : std::max<std::int64_t>(1, options_.mask.rule()->batch());
    for (std::int64_t h = 0; h < n_heads(); ++h) {
      std::int64_t like = 0;
      while (options_.mask.rule() != nullptr && !options_.mask.rule()->same_heads(like, h)) ++like;
      plan_of_head_.push_back(like < h ? plan_of_head_[static_cast<std::size_t>(like)]
                                       : static_cast<std::int64_t>(heads_planned_++));
      if (like < h) continue;
      for (std::int64_t b = 0; b < entries; ++b) {
        plans_.emplace_back(options_.mask, scope(b, h), kMassTileQueries);
      }
    }
    entries_ = entries;
    const std::vector<SequenceGeometry> geometry(static_cast<std::size_t>(batch()),
                                                 {q_len(), kv_len(), kv_len() - q_len()});
    bias_ = AttentionBias(options_, geometry, n_heads(), 1);
  }

  void run() {
    const bool rows = wanted_.entropy.given() || wanted_.max.given() || wanted_.top_k > 0;
    if (q_.dtype() == DType::kF64) return run_reference();
    FlashForwardSize size;
    size.max_tiles = kTilesPerItem;
    size.tile_queries = kMassTileQueries;
    size.kv_len = kv_len();
    size.head_dim = static_cast<int>(q_.size(3));
    scratch_ = (row_statistics_workspace_bytes(size, context_.isa()) + 63) / 64 * 64;
    workspace_ = AlignedBytes(scratch_ * static_cast<std::size_t>(context_.threads()));
    if (rows) run_rows();
    if (wanted_.column_mass.given()) run_mass();
  }

 private:
  // Rows of an item: 192, as many as keep a staged block of keys in use.
  static constexpr std::int64_t kTilesPerItem = 4;

  std::int64_t batch() const { return q_.size(0); }
  std::int64_t q_len() const { return q_.size(1); }
  std::int64_t n_heads() const { return q_.size(2); }
  std::int64_t kv_len() const { return k_.size(1); }
  MaskScope scope(std::int64_t b, std::int64_t h) const {
    return bottom_right_scope(q_len(), kv_len(), b, h);
  }
  const TilePlan& plan_of(std::int64_t b, std::int64_t h) const {
    const std::int64_t first = plan_of_head_[static_cast<std::size_t>(h)] * entries_;
    return plans_[static_cast<std::size_t>(first + (entries_ == 1 ? 0 : b))];
  }
  std::byte* scratch(int worker) const {
    return workspace_.data() + scratch_ * static_cast<std::size_t>(worker);
  }

  FlashForwardItem rows(std::int64_t b, std::int64_t h) const {
    FlashForwardItem item;
    item.first_head = h;
    item.kv_head = h / (n_heads() / k_.size(2));
    item.head_dim = static_cast<int>(q_.size(3));
    const auto head_dim = static_cast<double>(q_.size(3));
    item.scale = options_.scale ? static_cast<double>(*options_.scale)
                 : q_.dtype() == DType::kF64
                     ? 1 / std::sqrt(head_dim)
                     : static_cast<double>(1.0f / std::sqrt(static_cast<float>(head_dim)));
    item.softcap = options_.softcap.value_or(0.0f);
    item.bias = bias_.of(static_cast<std::size_t>(b));
    item.q = RowsAt::of_entry(q_.data(), q_, b).at;
    item.q_dtype = q_.dtype();
    item.q_token_stride = q_.stride(1);
    item.q_head_stride = q_.stride(2);
    item.q_dim_stride = q_.stride(3);
    item.lse = const_cast<float*>(lse_.as<float>()) + b * lse_.stride(0);
    item.lse_head_stride = lse_.stride(1);
    item.lse_token_stride = lse_.stride(2);
    item.kv = &views_[static_cast<std::size_t>(b)];
    return item;
  }
  static float* entry(const MutableTensorView& t, std::int64_t b) {
    return t.given() ? t.as<float>() + b * t.stride(0) : nullptr;
  }
  RowStatisticsItem row_item(std::int64_t b, std::int64_t h) const {
    RowStatisticsItem item;
    item.rows = rows(b, h);
    item.entropy = entry(wanted_.entropy, b);
    item.max = entry(wanted_.max, b);
    if (wanted_.entropy.given()) {
      item.entropy_head_stride = wanted_.entropy.stride(1);
      item.entropy_token_stride = wanted_.entropy.stride(2);
    }
    if (wanted_.max.given()) {
      item.max_head_stride = wanted_.max.stride(1);
      item.max_token_stride = wanted_.max.stride(2);
    }
    item.top_k = wanted_.top_k;
    item.q_len = q_len();
    if (wanted_.top_k > 0) {
      const auto first = static_cast<std::size_t>(b * n_heads() * q_len() * wanted_.top_k);
      item.top_index = wanted_.top_index.data() + first;
      item.top_weight = wanted_.top_weight.data() + first;
    }
    return item;
  }
  ColumnMassItem mass_item(std::int64_t b, std::int64_t h) const {
    ColumnMassItem item;
    item.rows = rows(b, h);
    item.mass = entry(wanted_.column_mass, b);
    item.mass_head_stride = wanted_.column_mass.stride(1);
    item.mass_key_stride = wanted_.column_mass.stride(2);
    return item;
  }

  void run_rows() {
    const std::int64_t n_tiles = (q_len() + kMassTileQueries - 1) / kMassTileQueries;
    const std::int64_t parts = (n_tiles + kTilesPerItem - 1) / kTilesPerItem;
    context_.pool().parallel_for(batch() * n_heads() * parts, [&](std::int64_t i, int worker) {
      const std::int64_t b = i / parts / n_heads(), h = i / parts % n_heads();
      RowStatisticsItem item = row_item(b, h);
      const std::int64_t first = i % parts * kTilesPerItem;
      item.rows.tiles = plan_of(b, h).tiles().subspan(
          static_cast<std::size_t>(first),
          static_cast<std::size_t>(std::min(kTilesPerItem, n_tiles - first)));
      row_statistics(item, scratch(worker), context_.isa());
    });
  }
  // An item owns the keys of a split and adds up all queries in order: no sum is shared.
  void run_mass() {
    const std::int64_t splits = (kv_len() + kSplitKeys - 1) / kSplitKeys;
    context_.pool().parallel_for(batch() * n_heads() * splits, [&](std::int64_t i, int worker) {
      const std::int64_t b = i / splits / n_heads(), h = i / splits % n_heads();
      ColumnMassItem item = mass_item(b, h);
      item.rows.tiles = plan_of(b, h).tiles();
      item.first_key = i % splits * kSplitKeys;
      item.n_keys = std::min(kSplitKeys, kv_len() - item.first_key);
      column_mass(item, scratch(worker), context_.isa());
    });
  }
  void run_reference() {
    for (std::int64_t i = 0; i < batch() * n_heads(); ++i) {
      const std::int64_t b = i / n_heads(), h = i % n_heads();
      const MaskPredicate sees(options_.mask, scope(b, h));
      row_statistics_reference(row_item(b, h), std::ref(sees));
      if (wanted_.column_mass.given()) {
        ColumnMassItem item = mass_item(b, h);
        item.n_keys = kv_len();
        column_mass_reference(item, q_len(), std::ref(sees));
      }
    }
  }

  const TensorView &q_, &k_, &lse_;
  const AttentionStatistics& wanted_;
  const AttentionOptions& options_;
  ExecutionContext& context_;
  std::vector<KvRun> runs_;
  std::vector<KvView> views_;
  AttentionBias bias_;
  std::vector<TilePlan> plans_;  // [heads_planned_][entries_]
  std::vector<std::int64_t> plan_of_head_;
  std::int64_t entries_ = 1;
  std::int64_t heads_planned_ = 0;
  AlignedBytes workspace_;
  std::size_t scratch_ = 0;
};

}  // namespace

void attention_statistics(TensorView q, TensorView k, TensorView lse,
                          const AttentionStatistics& wanted, const AttentionOptions& options,
                          ExecutionContext& context) {
  kChecks.rank("q", q, "[batch, q_len, n_heads, head_dim]", 4);
  kChecks.rank("k", k, "[batch, kv_len, n_kv_heads, head_dim]", 4);
  kChecks.equal("batch of k", k.size(0), "batch of q", q.size(0));
  kChecks.equal("head_dim of k", k.size(3), "head_dim of q", q.size(3));
  kChecks.memory("q", q);
  kChecks.memory("k", k);
  if ((q.dtype() == DType::kF64) != (k.dtype() == DType::kF64)) {
    kChecks.fail(std::string("q is ") + dtype_name(q.dtype()) + ", k is " + dtype_name(k.dtype()) +
                     ". f64 must be used for both or none.",
                 ErrorCode::kTypeMismatch);
  }
  check_rows("lse", lse, q, q.size(1), "q_len");
  const Inputs inputs{q, k, lse};
  check_output("entropy", wanted.entropy, inputs, q.size(1), "q_len");
  check_output("max", wanted.max, inputs, q.size(1), "q_len");
  check_output("column_mass", wanted.column_mass, inputs, k.size(1), "kv_len");
  check_top(wanted, q);
  const AttentionShape shape{q.size(2), k.size(2), q.size(3),  q.size(3),
                             q.dtype(), k.dtype(), DType::kF32};
  check_plan(shape,
             std::vector<SequenceGeometry>(static_cast<std::size_t>(q.size(0)),
                                           {q.size(1), k.size(1), k.size(1) - q.size(1)}),
             options);
  Statistics statistics(q, k, lse, wanted, options, context);
  statistics.plan();
  statistics.run();
}

}  // namespace raptly
