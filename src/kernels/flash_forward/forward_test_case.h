// A random attention problem for the tests of the forward kernels, and the ways to compute it.
#pragma once

#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>
#include <ostream>
#include <vector>

#include "base/aligned.h"
#include "kernels/flash_forward/flash_forward.h"
#include "kernels/flash_forward/reference.h"
#include "mask/bias_terms.h"
#include "mask/predicate.h"
#include "raptly/bias.h"
#include "raptly/mask.h"

namespace raptly::testing {

enum class Layout {
  kTokenMajor,  // [token, head, dim]
  kHeadMajor,   // [head, token, dim]
  kSparse,      // [token, dim, head] with a hole after each head: dim stride != 1
};

struct ForwardCase {
  std::int64_t q_len = 1, kv_len = 1;
  int n_heads = 1, n_kv_heads = 1;
  int head_dim = 64, v_dim = 64;
  DType q_dtype = DType::kF32, kv_dtype = DType::kF32, out_dtype = DType::kF32;
  Mask mask = {};
  float scale = 0;  // 0: 1 / sqrt(head_dim)
  float softcap = 0;
  Bias bias = {};
  std::vector<float> sinks = {};
  Layout layout = Layout::kTokenMajor;
  std::int64_t page_size = 0;                 // 0: one run
  std::int64_t evict_from = 0, evict_to = 0;  // ordinals in no run
  float q_amplitude = 1, k_amplitude = 1;
  std::uint64_t seed = 1;

  int group() const { return n_heads / n_kv_heads; }
  float used_scale() const {
    return scale != 0 ? scale : 1.0f / std::sqrt(static_cast<float>(head_dim));
  }
  MaskScope scope() const { return {0, 0, q_len, kv_len, kv_len - q_len}; }
};

// Dtypes of a test: f32 queries over any cache share their bits over levels; bf16 queries over a
// bf16 cache have a level of their own.
struct Dtypes {
  DType q, kv;
  bool own_level(Isa isa) const { return flash_forward_level(isa, q, kv) > Isa::kAvx512; }
};
inline void PrintTo(const Dtypes& d, std::ostream* out) {
  *out << dtype_name(d.q) << "_" << dtype_name(d.kv);
}
constexpr Dtypes kTestDtypes[] = {{DType::kF32, DType::kF32},
                                  {DType::kF32, DType::kBf16},
                                  {DType::kF32, DType::kF16},
                                  {DType::kBf16, DType::kBf16}};

// The same numbers whatever the compiler or library: a sum of four 16-bit uniforms, about N(0, 1).
class RandomValues {
 public:
  explicit RandomValues(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 1) {}
  std::uint64_t bits() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_;
  }
  float normal() {
    const std::uint64_t b = bits();
    const int sum =
        static_cast<int>((b & 0xffff) + (b >> 16 & 0xffff) + (b >> 32 & 0xffff) + (b >> 48)) -
        2 * 65535;
    return static_cast<float>(sum) / 37837.0f;  // 65536 / sqrt(3)
  }
  std::int64_t below(std::int64_t n) {
    return static_cast<std::int64_t>(bits() % static_cast<std::uint64_t>(n));
  }

 private:
  std::uint64_t state_;
};

inline void put(void* data, DType dtype, std::int64_t at, float x) {
  switch (dtype) {
    case DType::kF16:
      static_cast<F16*>(data)[at] = to_f16(x);
      break;
    case DType::kBf16:
      static_cast<Bf16*>(data)[at] = to_bf16(x);
      break;
    default:
      static_cast<float*>(data)[at] = x;
  }
}
inline float get(const void* data, DType dtype, std::int64_t at) {
  switch (dtype) {
    case DType::kF16:
      return to_float(static_cast<const F16*>(data)[at]);
    case DType::kBf16:
      return to_float(static_cast<const Bf16*>(data)[at]);
    default:
      return static_cast<const float*>(data)[at];
  }
}

// A [tokens, heads, dim] array in some layout. Ends exactly at its last element, and what no
// element uses is NaN, so that a sanitizer or the result shows a read beyond.
struct TestTensor {
  std::vector<std::byte> memory;
  DType dtype = DType::kF32;
  std::int64_t tokens = 0, token = 0, head = 0, dim = 1;

  TestTensor() = default;
  TestTensor(std::int64_t n_tokens, std::int64_t heads, std::int64_t dims, DType type,
             Layout layout)
      : dtype(type), tokens(n_tokens) {
    if (layout == Layout::kTokenMajor) {
      token = heads * dims, head = dims;
    } else if (layout == Layout::kHeadMajor) {
      token = dims, head = n_tokens * dims;
    } else {
      token = dims * (heads + 1), head = 1, dim = heads + 1;
    }
    const std::int64_t n =
        n_tokens == 0 ? 0 : (n_tokens - 1) * token + (heads - 1) * head + (dims - 1) * dim + 1;
    memory.resize(static_cast<std::size_t>(n) * dtype_size(type));
    for (std::int64_t i = 0; i < n; ++i) put(memory.data(), dtype, i, NAN);
  }
  std::int64_t at(std::int64_t t, std::int64_t h, std::int64_t d) const {
    return t * token + h * head + d * dim;
  }
  void set(std::int64_t t, std::int64_t h, std::int64_t d, float x) {
    put(memory.data(), dtype, at(t, h, d), x);
  }
  float value(std::int64_t t, std::int64_t h, std::int64_t d) const {
    return get(memory.data(), dtype, at(t, h, d));
  }
};

struct Outputs {
  std::vector<float> out;  // [q_len, n_heads, v_dim]
  std::vector<float> lse;  // [n_heads, q_len]
};

class ForwardData {
 public:
  explicit ForwardData(const ForwardCase& c)
      : c_(c),
        q(c.q_len, c.n_heads, c.head_dim, c.q_dtype, c.layout),
        k(c.kv_len, c.n_kv_heads, c.head_dim, c.kv_dtype, c.layout),
        v(c.kv_len, c.n_kv_heads, c.v_dim, c.kv_dtype, c.layout) {
    RandomValues random(c.seed);
    const auto fill = [&](TestTensor& t, int heads, int dims, float amplitude) {
      for (std::int64_t i = 0; i < t.tokens; ++i) {
        for (int h = 0; h < heads; ++h) {
          for (int d = 0; d < dims; ++d) t.set(i, h, d, random.normal() * amplitude);
        }
      }
    };
    fill(q, c.n_heads, c.head_dim, c.q_amplitude);
    fill(k, c.n_kv_heads, c.head_dim, c.k_amplitude);
    fill(v, c.n_kv_heads, c.v_dim, 1);
    if (!c.bias.given()) return;
    bias_ = score_bias(*c.bias.terms(), mask_detail::place_mask(c_.mask, c.scope()));
    if (bias_.kind != BiasKind::kOffset) return;
    by_query_ = table_by_query(*c.bias.terms(), c.group());
    bias_.by_query = by_query_.data();
  }

  ForwardData(const ForwardData&) = delete;  // bias_ points into it

  const ForwardCase& problem() const { return c_; }
  const ScoreBias* bias() const { return c_.bias.given() ? &bias_ : nullptr; }

  // The keys as runs; pages lie in reverse order in memory. Call after the last change of k and v.
  const KvView& view() {
    const std::int64_t page =
        c_.page_size == 0 ? std::max<std::int64_t>(1, c_.kv_len) : c_.page_size;
    const std::int64_t n_pages = (c_.kv_len + page - 1) / page;
    const Layout layout = c_.layout == Layout::kHeadMajor ? Layout::kTokenMajor : c_.layout;
    runs_.clear();
    const bool paged = c_.page_size != 0;
    if (paged) {
      paged_k_ = TestTensor(n_pages * page, c_.n_kv_heads, c_.head_dim, c_.kv_dtype, layout);
      paged_v_ = TestTensor(n_pages * page, c_.n_kv_heads, c_.v_dim, c_.kv_dtype, layout);
    }
    const TestTensor& tk = paged ? paged_k_ : k;
    const TestTensor& tv = paged ? paged_v_ : v;
    for (std::int64_t p = 0; p < n_pages; ++p) {
      const std::int64_t slot = paged ? (n_pages - 1 - p) * page : 0;
      const std::int64_t n = std::min(page, c_.kv_len - p * page);
      if (paged) copy_page(p * page, slot, n);
      const auto byte_at = [](const TestTensor& t, std::int64_t token) {
        return t.memory.data() + static_cast<std::size_t>(t.at(token, 0, 0)) * dtype_size(t.dtype);
      };
      add_run({byte_at(tk, slot), byte_at(tv, slot), nullptr, nullptr, n, p * page});
    }
    view_ = {runs_, c_.kv_dtype, tk.token, tk.head, tk.dim, tv.token, tv.head, tv.dim, c_.kv_len};
    return view_;
  }

  FlashForwardItem item(int kv_head) const {
    FlashForwardItem item;
    item.first_head = kv_head * c_.group();
    item.kv_head = kv_head;
    item.group = c_.group();
    item.head_dim = c_.head_dim;
    item.v_dim = c_.v_dim;
    item.scale = c_.used_scale();
    item.softcap = c_.softcap;
    item.bias = bias();
    item.sinks = c_.sinks.empty() ? nullptr : c_.sinks.data();
    item.q = q.memory.data();
    item.q_dtype = c_.q_dtype;
    item.q_token_stride = q.token;
    item.q_head_stride = q.head;
    item.q_dim_stride = q.dim;
    item.out_dtype = c_.out_dtype;
    item.lse_head_stride = c_.q_len;
    item.kv = &view_;
    return item;
  }

 private:
  void copy_page(std::int64_t first, std::int64_t slot, std::int64_t n) {
    for (std::int64_t i = 0; i < n; ++i) {
      for (int h = 0; h < c_.n_kv_heads; ++h) {
        for (int d = 0; d < c_.head_dim; ++d) {
          paged_k_.set(slot + i, h, d, k.value(first + i, h, d));
        }
        for (int d = 0; d < c_.v_dim; ++d) paged_v_.set(slot + i, h, d, v.value(first + i, h, d));
      }
    }
  }
  // Without the evicted ordinals.
  void add_run(const KvRun& run) {
    const std::int64_t end = run.first_ordinal + run.n;
    if (c_.evict_to <= run.first_ordinal || c_.evict_from >= end) {
      runs_.push_back(run);
      return;
    }
    if (run.first_ordinal < c_.evict_from) {
      runs_.push_back(run);
      runs_.back().n = c_.evict_from - run.first_ordinal;
    }
    if (c_.evict_to < end) {
      const std::int64_t skipped = c_.evict_to - run.first_ordinal;
      const TestTensor& tk = c_.page_size != 0 ? paged_k_ : k;
      const TestTensor& tv = c_.page_size != 0 ? paged_v_ : v;
      const auto move = [&](const void* p, const TestTensor& t) {
        return static_cast<const std::byte*>(p) +
               static_cast<std::size_t>(skipped * t.token) * dtype_size(t.dtype);
      };
      runs_.push_back(
          {move(run.k, tk), move(run.v, tv), nullptr, nullptr, run.n - skipped, c_.evict_to});
    }
  }

  ForwardCase c_;
  ScoreBias bias_;
  std::vector<float> by_query_;
  std::vector<KvRun> runs_;
  KvView view_;
  TestTensor paged_k_, paged_v_;

 public:
  TestTensor q, k, v;
};

// Runs f(item) with out in the case's dtype and layout; returns out as floats.
template <class F>
Outputs collect(ForwardData& data, F&& f) {
  const ForwardCase& c = data.problem();
  data.view();
  TestTensor out(c.q_len, c.n_heads, c.v_dim, c.out_dtype, c.layout);
  Outputs result;
  result.lse.assign(static_cast<std::size_t>(c.q_len * c.n_heads), NAN);
  for (int h = 0; h < c.n_kv_heads; ++h) {
    FlashForwardItem item = data.item(h);
    item.out = out.memory.data();
    item.out_token_stride = out.token;
    item.out_head_stride = out.head;
    item.out_dim_stride = out.dim;
    item.lse = result.lse.data();
    f(item);
  }
  for (std::int64_t t = 0; t < c.q_len; ++t) {
    for (int h = 0; h < c.n_heads; ++h) {
      for (int d = 0; d < c.v_dim; ++d) result.out.push_back(out.value(t, h, d));
    }
  }
  return result;
}

inline FlashForwardSize size_of(const ForwardCase& c, std::int64_t max_tiles, int tile_queries) {
  FlashForwardSize size;
  size.max_tiles = max_tiles;
  size.tile_queries = tile_queries;
  size.group = c.group();
  size.kv_len = c.kv_len;
  size.head_dim = c.head_dim;
  size.v_dim = c.v_dim;
  return size;
}

// tile_queries 0: as the kernel wants. Items of tiles_per_item tiles.
inline Outputs run_prefill(ForwardData& data, Isa isa, int tile_queries = 0,
                           std::int64_t tiles_per_item = 4) {
  const ForwardCase& c = data.problem();
  if (tile_queries == 0) tile_queries = flash_forward_tile_queries(c.group(), isa);
  const TilePlan plan(c.mask, c.scope(), tile_queries);
  const std::size_t bytes =
      flash_forward_workspace_bytes(size_of(c, tiles_per_item, tile_queries), isa);
  const AlignedBytes workspace(bytes);
  std::memset(workspace.data(), 0xff, bytes);  // NaN: nothing may be read before it is written
  return collect(data, [&](FlashForwardItem& item) {
    const auto tiles = plan.tiles();
    for (std::size_t at = 0; at < tiles.size(); at += static_cast<std::size_t>(tiles_per_item)) {
      item.tiles =
          tiles.subspan(at, std::min(tiles.size() - at, static_cast<std::size_t>(tiles_per_item)));
      flash_forward(item, workspace.data(), isa);
    }
  });
}

// Calls of `queries` queries each (as many as fit kMaxDecodeRows if 0).
inline Outputs run_decode(ForwardData& data, Isa isa, int queries = 0) {
  const ForwardCase& c = data.problem();
  const int most = kMaxDecodeRows / c.group();
  queries = queries == 0 ? most : std::min(queries, most);
  const TilePlan plan(c.mask, c.scope(), queries);
  const std::size_t bytes = flash_decode_workspace_bytes(size_of(c, 1, queries), isa);
  const AlignedBytes workspace(bytes);
  const std::int64_t n_splits = (c.kv_len + kSplitKeys - 1) / kSplitKeys;
  const std::size_t state_floats = flash_decode_state_floats(queries * c.group(), c.v_dim);
  const AlignedArray<float> states(state_floats * static_cast<std::size_t>(n_splits));
  return collect(data, [&](FlashForwardItem& item) {
    for (std::size_t at = 0; at < plan.tiles().size(); ++at) {
      item.tiles = plan.tiles().subspan(at, 1);
      const std::size_t floats =
          flash_decode_state_floats(item.tiles[0].n_queries * c.group(), c.v_dim);
      std::memset(workspace.data(), 0xff, bytes);
      std::memset(states.data(), 0xff, states.size() * sizeof(float));
      for (std::int64_t split = n_splits - 1; split >= 0; --split) {
        flash_decode_split(item, split, states.data() + static_cast<std::size_t>(split) * floats,
                           workspace.data(), isa);
      }
      flash_decode_merge(item, {states.data(), n_splits, static_cast<std::int64_t>(floats)},
                         workspace.data(), isa);
    }
  });
}

inline Outputs run_reference(ForwardData& data) {
  const ForwardCase& c = data.problem();
  const MaskPredicate sees(c.mask, c.scope());
  return collect(
      data, [&](FlashForwardItem& item) { flash_forward_reference(item, {0, c.q_len}, sees); });
}

inline bool same_bits(float a, float b) {
  return std::memcmp(&a, &b, sizeof(a)) == 0 || (std::isnan(a) && std::isnan(b));
}
inline std::int64_t count_different(const Outputs& a, const Outputs& b) {
  std::int64_t n = 0;
  for (std::size_t i = 0; i < a.out.size(); ++i) n += !same_bits(a.out[i], b.out[i]);
  for (std::size_t i = 0; i < a.lse.size(); ++i) n += !same_bits(a.lse[i], b.lse[i]);
  return n + (a.out.size() != b.out.size()) + (a.lse.size() != b.lse.size());
}

}  // namespace raptly::testing
