#include <algorithm>
#include <string>
#include <vector>

#include "attention/cache_window.h"
#include "attention/plan.h"
#include "attention/tensor_checks.h"
#include "attention/validate.h"
#include "base/aligned.h"
#include "base/elements.h"
#include "base/thread_pool.h"
#include "raptly/attention_with_cache.h"

namespace raptly {
namespace {

constexpr std::int64_t kRowsPerItem = 16;
const TensorChecks kChecks("attention_with_cache");

std::string text(std::int64_t n) { return std::to_string(n); }

// The tensors of a call.
struct Tensors {
  TensorView q, k, v;
  MutableTensorView out, lse;
};

// Rows of one sequence in the batch.
struct Rows {
  SequenceId id;
  std::int64_t first_row, n_rows;
  std::int64_t first_ordinal;  // of its first row
};

template <class T>
T* element_at(T* data, DType dtype, std::int64_t at) {
  if (data == nullptr) return nullptr;
  using Byte = std::conditional_t<std::is_const_v<T>, const std::byte, std::byte>;
  return static_cast<Byte*>(data) + at * static_cast<std::int64_t>(dtype_size(dtype));
}

void check_batch_lists(const CachedBatch& batch, std::int64_t total) {
  if (batch.sequences.size() != batch.lengths.size()) {
    kChecks.fail(text(static_cast<std::int64_t>(batch.sequences.size())) + " sequences but " +
                 text(static_cast<std::int64_t>(batch.lengths.size())) +
                 " lengths were given. They must be as many.");
  }
  std::vector<SequenceId> ids(batch.sequences.begin(), batch.sequences.end());
  std::sort(ids.begin(), ids.end());
  const auto twice = std::adjacent_find(ids.begin(), ids.end());
  if (twice != ids.end()) {
    kChecks.fail("sequence " + text(*twice) + " is in the batch twice. Give its rows at once.");
  }
  std::int64_t sum = 0;
  for (const std::int64_t length : batch.lengths) {
    if (length < 0 || length > total - sum) {
      kChecks.fail("a length is " + text(length) + ". The lengths must add up to the " +
                   text(total) + " rows of q.");
    }
    sum += length;
  }
  if (sum != total) {
    kChecks.fail("the lengths add up to " + text(sum) + ". q has " + text(total) + " rows.");
  }
  if (!batch.tokens.empty() && static_cast<std::int64_t>(batch.tokens.size()) != total) {
    kChecks.fail("there are " + text(static_cast<std::int64_t>(batch.tokens.size())) +
                 " tokens for " + text(total) + " rows. Give one each, or none.");
  }
}

void check_new_keys(const Tensors& t, const CacheShape& shape) {
  if (t.k.given() != t.v.given()) kChecks.fail("k and v: one is given, the other is not.");
  if (!t.k.given()) return;
  kChecks.rank("k", t.k, "[total, n_kv_heads, head_dim]", 3);
  kChecks.rank("v", t.v, "[total, n_kv_heads, v_dim]", 3);
  kChecks.equal("rows of k", t.k.size(0), "rows of q", t.q.size(0));
  kChecks.equal("rows of v", t.v.size(0), "rows of q", t.q.size(0));
  kChecks.equal("n_kv_heads of k", t.k.size(1), "n_kv_heads of the cache", shape.n_kv_heads);
  kChecks.equal("n_kv_heads of v", t.v.size(1), "n_kv_heads of the cache", shape.n_kv_heads);
  kChecks.equal("head_dim of k", t.k.size(2), "head_dim of the cache", shape.head_dim);
  kChecks.equal("v_dim of v", t.v.size(2), "v_dim of the cache", shape.v_dim);
}

void check_tensors(const Tensors& t, const CacheShape& shape) {
  kChecks.rank("q", t.q, "[total, n_heads, head_dim]", 3);
  kChecks.rank("out", t.out, "[total, n_heads, v_dim]", 3);
  kChecks.equal("head_dim of q", t.q.size(2), "head_dim of the cache", shape.head_dim);
  kChecks.equal("rows of out", t.out.size(0), "rows of q", t.q.size(0));
  kChecks.equal("n_heads of out", t.out.size(1), "n_heads of q", t.q.size(1));
  kChecks.equal("v_dim of out", t.out.size(2), "v_dim of the cache", shape.v_dim);
  check_new_keys(t, shape);
  if (t.lse.given()) {
    kChecks.rank("lse", t.lse, "[n_heads, total]", 2);
    kChecks.equal("n_heads of lse", t.lse.size(0), "n_heads of q", t.q.size(1));
    kChecks.equal("rows of lse", t.lse.size(1), "rows of q", t.q.size(0));
    if (t.lse.dtype() != DType::kF32) {
      kChecks.fail("lse is " + std::string(dtype_name(t.lse.dtype())) + ". It must be f32.",
                   ErrorCode::kTypeMismatch);
    }
  }
  const std::pair<const char*, TensorView> inputs[] = {{"q", t.q}, {"k", t.k}, {"v", t.v}};
  const std::pair<const char*, TensorView> outputs[] = {{"out", t.out}, {"lse", t.lse}};
  for (const auto& [name, tensor] : inputs) {
    kChecks.memory(name, tensor);
    if (tensor.given() && tensor.dtype() == DType::kF64) {
      kChecks.fail(std::string(name) + " is f64. It must be f32, f16 or bf16.",
                   ErrorCode::kTypeMismatch);
    }
  }
  for (const auto& [name, tensor] : outputs) {
    kChecks.memory(name, tensor);
    kChecks.own_places(name, tensor);
    for (const auto& [input_name, input] : inputs) kChecks.apart(name, tensor, input_name, input);
  }
  kChecks.apart("out", t.out, "lse", t.lse);
}

// Rows that are in the cache already: the window of the first must be there.
void check_kept(const KvCache& cache, const Rows& rows) {
  const CacheWindow kept = cache.window();
  const std::int64_t first_kept = cache.first_kept(rows.id);
  if (kept.window == 0 || first_kept <= kept.n_sinks ||
      rows.first_ordinal - kept.window + 1 >= first_kept) {
    return;
  }
  kChecks.fail("the last " + text(rows.n_rows) + " rows of sequence " + text(rows.id) +
               " look back to tokens that the cache no longer keeps. With its window of " +
               text(kept.window) + " it can be asked for the last " +
               text(cache.length(rows.id) - first_kept - kept.window + 1) + ".");
}

std::vector<Rows> rows_of(const KvCache& cache, const CachedBatch& batch, bool appends) {
  std::vector<Rows> all;
  std::int64_t row = 0;
  for (std::size_t i = 0; i < batch.sequences.size(); ++i) {
    const std::int64_t n = batch.lengths[i], length = cache.length(batch.sequences[i]);
    all.push_back({batch.sequences[i], row, n, appends ? length : length - n});
    row += n;
    if (appends || n == 0) continue;
    if (batch.layer > 0 && n > length) {
      kChecks.fail("sequence " + text(batch.sequences[i]) + " has " + text(length) +
                   " tokens and layer " + text(batch.layer) + " brings " + text(n) +
                   ". Layer 0 appends tokens; call it first.");
    }
    check_kept(cache, all.back());
  }
  return all;
}

// Stores rows of k and v, widened and made adjacent where they are not f32 [heads, dim].
class Appender {
 public:
  Appender(const Tensors& t, std::int64_t layer, KvCache& cache, ExecutionContext& context)
      : t_(t), layer_(layer), cache_(cache), context_(context) {
    k_direct_ = is_direct(t.k);
    v_direct_ = is_direct(t.v);
    k_width_ = t.k.size(1) * t.k.size(2);
    v_width_ = t.v.size(1) * t.v.size(2);
    if (!k_direct_ || !v_direct_) {
      scratch_ =
          AlignedArray<float>(static_cast<std::size_t>(context.threads()) * scratch_floats());
    }
  }

  void run(std::span<const Rows> all) noexcept {
    for (const Rows& rows : all) {
      const std::int64_t n_items = (rows.n_rows + kRowsPerItem - 1) / kRowsPerItem;
      context_.pool().parallel_for(n_items, [&](std::int64_t item, int worker) {
        const std::int64_t begin = item * kRowsPerItem;
        store(rows, begin, std::min(kRowsPerItem, rows.n_rows - begin), worker);
      });
    }
  }

 private:
  static bool is_direct(const TensorView& t) {
    return t.dtype() == DType::kF32 && t.stride(2) == 1 && t.stride(1) == t.size(2);
  }
  std::size_t scratch_floats() const {
    return static_cast<std::size_t>(kRowsPerItem * (k_width_ + v_width_));
  }

  static void widen(const TensorView& t, std::int64_t first, std::int64_t n, float* to) {
    for (std::int64_t i = first; i < first + n; ++i) {
      for (std::int64_t h = 0; h < t.size(1); ++h) {
        const std::int64_t at = i * t.stride(0) + h * t.stride(1);
        for (std::int64_t c = 0; c < t.size(2); ++c) {
          *to++ = static_cast<float>(element(t.data(), t.dtype(), at + c * t.stride(2)));
        }
      }
    }
  }

  void store(const Rows& rows, std::int64_t begin, std::int64_t n, int worker) noexcept {
    const std::int64_t row = rows.first_row + begin;
    const float *k = t_.k.as<float>() + row * t_.k.stride(0),
                *v = t_.v.as<float>() + row * t_.v.stride(0);
    std::int64_t k_stride = t_.k.stride(0), v_stride = t_.v.stride(0);
    float* scratch = scratch_.data() + static_cast<std::size_t>(worker) * scratch_floats();
    if (!k_direct_) {
      widen(t_.k, row, n, scratch);
      k = scratch;
      k_stride = k_width_;
    }
    if (!v_direct_) {
      float* to = scratch + kRowsPerItem * k_width_;
      widen(t_.v, row, n, to);
      v = to;
      v_stride = v_width_;
    }
    cache_.write(rows.id, layer_, rows.first_ordinal + begin, n, k, k_stride, v, v_stride);
  }

  const Tensors& t_;
  std::int64_t layer_;
  KvCache& cache_;
  ExecutionContext& context_;
  bool k_direct_ = false, v_direct_ = false;
  std::int64_t k_width_ = 0, v_width_ = 0;
  AlignedArray<float> scratch_;
};

AttentionPlan make_plan(const Tensors& t, const KvCache& cache, std::span<const Rows> all,
                        const AttentionOptions& options, ExecutionContext& context) {
  const CacheShape& shape = cache.shape();
  std::vector<SequenceGeometry> geometry;
  for (const Rows& rows : all) {
    geometry.push_back({rows.n_rows, rows.first_ordinal + rows.n_rows, rows.first_ordinal});
  }
  AttentionOptions kept = options;
  kept.mask = within_cache_window(options.mask, cache.window());
  return AttentionPlan({t.q.size(1), shape.n_kv_heads, shape.head_dim, shape.v_dim, t.q.dtype(),
                        shape.dtype, t.out.dtype()},
                       geometry, kept, context);
}

void attend(const Tensors& t, const KvCache& cache, std::int64_t layer, std::span<const Rows> all,
            std::span<SequenceTensors> tensors, AttentionPlan& plan) {
  for (std::size_t i = 0; i < all.size(); ++i) {
    const std::int64_t row = all[i].first_row;
    SequenceTensors& s = tensors[i];
    s.q = element_at(t.q.data(), t.q.dtype(), row * t.q.stride(0));
    s.out = element_at(t.out.data(), t.out.dtype(), row * t.out.stride(0));
    if (t.lse.given() && t.lse.data() != nullptr) s.lse = t.lse.as<float>() + row * t.lse.stride(1);
    s.kv = cache.view(all[i].id, layer);
  }
  RowStrides strides{t.q.stride(0),
                     t.q.stride(1),
                     t.q.stride(2),
                     t.out.stride(0),
                     t.out.stride(1),
                     t.out.stride(2),
                     0,
                     1};
  if (t.lse.given()) {
    strides.lse_head = t.lse.stride(0);
    strides.lse_token = t.lse.stride(1);
  }
  plan.run(tensors, strides);
}

}  // namespace

void attention_with_cache(TensorView q, TensorView k, TensorView v, MutableTensorView out,
                          KvCache& cache, const CachedBatch& batch,
                          const CachedAttentionOptions& options, MutableTensorView lse,
                          ExecutionContext& context) {
  const Tensors t{q, k, v, out, lse};
  const CacheShape& shape = cache.shape();
  check_tensors(t, shape);
  check_batch_lists(batch, q.size(0));
  if (batch.layer < 0 || batch.layer >= shape.n_layers) {
    kChecks.fail("layer is " + text(batch.layer) + ". The cache has " + text(shape.n_layers) +
                 " layers.");
  }
  check_bias_apart(options.bias, out, lse);
  const bool appends = k.given() && batch.layer == 0;
  const std::vector<Rows> all = rows_of(cache, batch, appends);
  AttentionPlan plan = make_plan(t, cache, all, options, context);
  std::vector<SequenceTensors> tensors(all.size());
  if (k.given()) {
    Appender appender(t, batch.layer, cache, context);
    if (appends) cache.extend(batch.sequences, batch.lengths, batch.tokens);  // the last to throw
    appender.run(all);
  }
  attend(t, cache, batch.layer, all, tensors, plan);
}

}  // namespace raptly
