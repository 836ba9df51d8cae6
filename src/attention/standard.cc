#include "attention/standard.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/thread_pool.h"
#include "kernels/gemm/gemm.h"

namespace raptly {
namespace {

constexpr std::int64_t kRows = 96;  // query rows an item takes
constexpr double kLog2E = 1.4426950408889634;
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

std::int64_t round_to_panel(std::int64_t n, Isa isa) {
  return (n + gemm_panel(isa) - 1) / gemm_panel(isa) * gemm_panel(isa);
}
AlignedArray<float> floats(std::int64_t n) {
  return AlignedArray<float>(static_cast<std::size_t>(n));
}

// scores[j] += log2 e * bias; false: every key is hidden.
bool add_bias_row(const ScoreBias& bias, std::int64_t head, std::int64_t query, std::int64_t n,
                  float* scores) {
  constexpr auto kFactor = static_cast<float>(kLog2E);
  const std::int64_t position = bias.scope.first_position + query;
  if (bias.kind == BiasKind::kDistance) {
    const float slope = bias.slopes[head] * kFactor;
    for (std::int64_t j = 0; j < n; ++j) {
      scores[j] -= slope * static_cast<float>(std::abs(position - j));
    }
    return n > 0;
  }
  if (bias.kind == BiasKind::kDense && bias.dtype == DType::kF32 && bias.key_stride == 1) {
    const float* row =
        static_cast<const float*>(bias.data) + head * bias.head_stride + query * bias.query_stride;
    bool any = false;
    for (std::int64_t j = 0; j < n; ++j) {
      any |= row[j] != kMinusInfinity;
      scores[j] += row[j] * kFactor;
    }
    return any;
  }
  bool any = false;
  for (std::int64_t j = 0; j < n; ++j) {
    const auto x = static_cast<float>(bias_of_pair(bias, head, query, j));
    any |= x != kMinusInfinity;
    scores[j] += x * kFactor;
  }
  return any;
}

}  // namespace

StandardAttention::StandardAttention(std::int64_t q_len, std::int64_t kv_len, std::int64_t head_dim,
                                     ExecutionContext& context)
    : q_len_(q_len),
      kv_len_(kv_len),
      head_dim_(head_dim),
      score_stride_(round_to_panel(kv_len, context.isa())),
      out_width_(round_to_panel(head_dim, context.isa())),
      context_(context),
      keys_(floats(score_stride_ * head_dim)),
      values_(floats(out_width_ * kv_len)),
      scores_(floats(q_len * score_stride_)),
      rows_(floats(context.threads() * kRows * (head_dim + out_width_))) {}

void StandardAttention::run(const TensorView& q, const TensorView& k, const TensorView& v,
                            const MutableTensorView& out, const StandardOptions& options) {
  const std::int64_t group = q.size(2) / k.size(2);
  const Isa isa = context_.isa();
  for (std::int64_t b = 0; b < q.size(0); ++b) {
    ScoreBias bias;
    if (options.bias.given()) {
      bias = score_bias(*options.bias.terms(), bottom_right_scope(q_len_, kv_len_, b, 0));
    }
    for (std::int64_t h = 0; h < q.size(2); ++h) {
      const std::int64_t kv = h / group;
      const MatrixView keys{k.as<float>() + b * k.stride(0) + kv * k.stride(2), kv_len_, head_dim_,
                            k.stride(1)};
      const MatrixView values{v.as<float>() + b * v.stride(0) + kv * v.stride(2), kv_len_,
                              head_dim_, v.stride(1)};
      const std::int64_t key_panels = score_stride_ / gemm_panel(isa);
      const std::int64_t value_panels = out_width_ / gemm_panel(isa);
      if (h % group == 0) {
        context_.pool().parallel_for(key_panels + value_panels, [&](std::int64_t p, int) {
          if (p < key_panels) {
            gemm_pack_transposed(keys, p, keys_.data(), isa);
          } else {
            gemm_pack(values, p - key_panels, values_.data(), isa);
          }
        });
      }
      Head head{q.as<float>() + b * q.stride(0) + h * q.stride(2),
                q.stride(1),
                out.as<float>() + b * out.stride(0) + h * out.stride(2),
                out.stride(1),
                h,
                options.causal,
                options.bias.given() ? &bias : nullptr,
                kMinusInfinity};
      if (options.sinks.given()) {
        head.sink = options.sinks.as<float>()[h * options.sinks.stride(0)];
      }
      run_head(head);
    }
  }
}

// A row of scores in log2 units to weights.
void StandardAttention::softmax(const Head& head, std::int64_t query, float* scores) {
  std::int64_t visible = kv_len_;
  if (head.causal) visible = std::clamp<std::int64_t>(query + 1 + kv_len_ - q_len_, 0, kv_len_);
  if (head.bias != nullptr && !add_bias_row(*head.bias, head.index, query, visible, scores)) {
    visible = 0;
  }
  if (head.sink == kMinusInfinity) {
    return softmax_row(scores, visible, score_stride_, context_.isa());
  }
  const SoftmaxBlock row = softmax_block(scores, visible, score_stride_, context_.isa());
  const double sink = static_cast<double>(head.sink) * kLog2E;
  const double sum = static_cast<double>(row.l) + std::exp2(sink - static_cast<double>(row.m));
  const float factor = row.l == 0 ? 0.0f : static_cast<float>(1 / sum);
  mix_row(scores, scores, score_stride_, {factor, 0}, context_.isa());
}

void StandardAttention::run_head(const Head& head) {
  const Isa isa = context_.isa();
  const auto scale = static_cast<float>(kLog2E / std::sqrt(static_cast<double>(head_dim_)));
  context_.pool().parallel_for((q_len_ + kRows - 1) / kRows, [&](std::int64_t item, int worker) {
    const std::int64_t first = item * kRows, n = std::min(kRows, q_len_ - first);
    float* scaled = rows_.data() + worker * kRows * (head_dim_ + out_width_);
    float* product = scaled + kRows * head_dim_;
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t d = 0; d < head_dim_; ++d) {
        scaled[i * head_dim_ + d] = head.q[(first + i) * head.q_stride + d] * scale;
      }
    }
    float* scores = scores_.data() + first * score_stride_;
    gemm({scaled, n, head_dim_, head_dim_}, keys_.data(), {scores, kv_len_, score_stride_}, isa);
    for (std::int64_t i = 0; i < n; ++i) {
      softmax(head, first + i, scores + i * score_stride_);
    }
    gemm({scores, n, kv_len_, score_stride_}, values_.data(), {product, head_dim_, out_width_},
         isa);
    for (std::int64_t i = 0; i < n; ++i) {
      std::copy_n(product + i * out_width_, head_dim_, head.out + (first + i) * head.out_stride);
    }
  });
}

}  // namespace raptly
