#include "attention/flash1.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/thread_pool.h"
#include "kernels/gemm/gemm.h"

namespace raptly {
namespace {

constexpr std::int64_t kQueries = 96, kKeys = 128;  // of a block: both and their scores fit L2
constexpr double kLog2E = 1.4426950408889634;

std::int64_t round_to_panel(std::int64_t n, Isa isa) {
  return (n + gemm_panel(isa) - 1) / gemm_panel(isa) * gemm_panel(isa);
}

}  // namespace

struct Flash1Attention::Scratch {
  float* q;        // [q_len, head_dim], scaled
  float* keys;     // a block, packed transposed
  float* values;   // a block, packed
  float* scores;   // [kQueries, key_width]
  float* product;  // [kQueries, out_width]
  float* m;        // [q_len], log2 units
  float* l;        // [q_len]
};

struct Flash1Attention::Head {
  const float *q, *k, *v;
  float* out;
  std::int64_t q_stride, k_stride, v_stride, out_stride;  // from token to token
};

Flash1Attention::Flash1Attention(std::int64_t q_len, std::int64_t kv_len, std::int64_t head_dim,
                                 ExecutionContext& context)
    : q_len_(q_len),
      kv_len_(kv_len),
      head_dim_(head_dim),
      key_width_(round_to_panel(kKeys, context.isa())),
      out_width_(round_to_panel(head_dim, context.isa())),
      context_(context),
      thread_floats_((q_len * (head_dim + 2) + key_width_ * head_dim + out_width_ * kKeys +
                      kQueries * (key_width_ + out_width_) + 15) /
                     16 * 16),
      memory_(static_cast<std::size_t>(thread_floats_ * context.threads())) {}

Flash1Attention::Scratch Flash1Attention::scratch_of(int worker) const {
  Scratch s;
  s.keys = const_cast<float*>(memory_.data()) + worker * thread_floats_;
  s.values = s.keys + key_width_ * head_dim_;
  s.scores = s.values + out_width_ * kKeys;
  s.product = s.scores + kQueries * key_width_;
  s.q = s.product + kQueries * out_width_;
  s.m = s.q + q_len_ * head_dim_;
  s.l = s.m + q_len_;
  return s;
}

void Flash1Attention::run(const TensorView& q, const TensorView& k, const TensorView& v,
                          const MutableTensorView& out, bool causal) {
  const std::int64_t n_heads = q.size(2), group = n_heads / k.size(2);
  context_.pool().parallel_for(q.size(0) * n_heads, [&](std::int64_t item, int worker) {
    const std::int64_t b = item / n_heads, h = item % n_heads;
    const Head head{q.as<float>() + b * q.stride(0) + h * q.stride(2),
                    k.as<float>() + b * k.stride(0) + h / group * k.stride(2),
                    v.as<float>() + b * v.stride(0) + h / group * v.stride(2),
                    out.as<float>() + b * out.stride(0) + h * out.stride(2),
                    q.stride(1),
                    k.stride(1),
                    v.stride(1),
                    out.stride(1)};
    run_head(head, scratch_of(worker), causal);
  });
}

void Flash1Attention::run_head(const Head& head, const Scratch& s, bool causal) const {
  const Isa isa = context_.isa();
  const auto scale = static_cast<float>(kLog2E / std::sqrt(static_cast<double>(head_dim_)));
  for (std::int64_t i = 0; i < q_len_; ++i) {
    for (std::int64_t d = 0; d < head_dim_; ++d) {
      s.q[i * head_dim_ + d] = head.q[i * head.q_stride + d] * scale;
    }
    std::fill_n(head.out + i * head.out_stride, head_dim_, 0.0f);
  }
  std::fill_n(s.m, q_len_, -std::numeric_limits<float>::infinity());
  std::fill_n(s.l, q_len_, 0.0f);
  for (std::int64_t key = 0; key < kv_len_; key += kKeys) {
    const std::int64_t n = std::min(kKeys, kv_len_ - key);
    const MatrixView keys{head.k + key * head.k_stride, n, head_dim_, head.k_stride};
    const MatrixView values{head.v + key * head.v_stride, n, head_dim_, head.v_stride};
    const std::int64_t panel = gemm_panel(isa);
    for (std::int64_t p = 0; p * panel < n; ++p) gemm_pack_transposed(keys, p, s.keys, isa);
    for (std::int64_t p = 0; p * panel < head_dim_; ++p) gemm_pack(values, p, s.values, isa);
    for (std::int64_t query = 0; query < q_len_; query += kQueries) {
      const std::int64_t last = std::min(query + kQueries, q_len_) - 1;
      if (causal && key > last + kv_len_ - q_len_) continue;  // hidden from all of its rows
      run_block(head, s, query, key, causal);
    }
  }
}

void Flash1Attention::run_block(const Head& head, const Scratch& s, std::int64_t first_query,
                                std::int64_t first_key, bool causal) const {
  const Isa isa = context_.isa();
  const std::int64_t rows = std::min(kQueries, q_len_ - first_query),
                     n = std::min(kKeys, kv_len_ - first_key);
  gemm({s.q + first_query * head_dim_, rows, head_dim_, head_dim_}, s.keys,
       {s.scores, n, key_width_}, isa);
  RowMix shares[kQueries];  // of out and of this block's product in the new out
  for (std::int64_t i = 0; i < rows; ++i) {
    const std::int64_t query = first_query + i, seen = query + 1 + kv_len_ - q_len_ - first_key;
    float& m = s.m[query];
    float& l = s.l[query];
    const SoftmaxBlock block = softmax_block(
        s.scores + i * key_width_, causal ? std::clamp<std::int64_t>(seen, 0, n) : n, n, isa);
    const float raised = std::max(m, block.m);
    const bool any = raised > -std::numeric_limits<float>::infinity();
    const float before = any ? l * std::exp2(m - raised) : 0.0f;
    const float here = any ? std::exp2(block.m - raised) : 0.0f;
    l = before + here * block.l;
    m = raised;
    shares[i] = l > 0 ? RowMix{before / l, here / l} : RowMix{0, 0};
  }
  gemm({s.scores, rows, n, key_width_}, s.values, {s.product, head_dim_, out_width_}, isa);
  for (std::int64_t i = 0; i < rows; ++i) {
    mix_row(head.out + (first_query + i) * head.out_stride, s.product + i * out_width_, head_dim_,
            shares[i], isa);
  }
}

}  // namespace raptly
