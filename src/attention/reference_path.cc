#include "attention/reference_path.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/thread_pool.h"
#include "mask/predicate.h"

namespace raptly {
namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();

struct Problem {
  TensorView q, k, v;
  MutableTensorView out, lse;
  double scale = 1, softcap = 0;
  std::vector<MaskPredicate> sees;  // of each batch entry
};

double at(const TensorView& t, std::int64_t b, std::int64_t i, std::int64_t h, std::int64_t d) {
  return t.as<double>()[b * t.stride(0) + i * t.stride(1) + h * t.stride(2) + d * t.stride(3)];
}

// One row: query i of head h of batch entry b. scores: scratch, one a key.
void attend_row(const Problem& p, std::int64_t b, std::int64_t h, std::int64_t i,
                std::vector<double>& scores) {
  const std::int64_t kv_len = p.k.size(1), kv_head = h / (p.q.size(2) / p.k.size(2));
  double highest = kNever;
  for (std::int64_t j = 0; j < kv_len; ++j) {
    double& s = scores[static_cast<std::size_t>(j)];
    s = kNever;
    if (!p.sees[static_cast<std::size_t>(b)](i, j)) continue;
    s = 0;
    for (std::int64_t d = 0; d < p.q.size(3); ++d)
      s += at(p.q, b, i, h, d) * at(p.k, b, j, kv_head, d);
    s *= p.scale;
    if (p.softcap > 0) s = p.softcap * std::tanh(s / p.softcap);
    if (s > highest || std::isnan(s)) highest = s;
    if (std::isnan(highest)) break;
  }
  double sum = 0;
  for (std::int64_t j = 0; j < kv_len; ++j) {
    double& s = scores[static_cast<std::size_t>(j)];
    const bool seen = p.sees[static_cast<std::size_t>(b)](i, j);
    s = seen ? std::exp(s - highest) : 0.0;
    sum += s;
  }
  for (std::int64_t d = 0; d < p.v.size(3); ++d) {
    double o = 0;
    for (std::int64_t j = 0; j < kv_len; ++j) {
      if (p.sees[static_cast<std::size_t>(b)](i, j)) {
        o += scores[static_cast<std::size_t>(j)] * at(p.v, b, j, kv_head, d);
      }
    }
    const MutableTensorView& out = p.out;
    out.as<double>()[b * out.stride(0) + i * out.stride(1) + h * out.stride(2) +
                     d * out.stride(3)] = sum == 0 ? 0.0 : o / sum;
  }
  if (p.lse.given()) {
    p.lse.as<float>()[b * p.lse.stride(0) + h * p.lse.stride(1) + i * p.lse.stride(2)] =
        static_cast<float>(sum == 0 ? kNever : highest + std::log(sum));
  }
}

}  // namespace

void reference_attention(const TensorView& q, const TensorView& k, const TensorView& v,
                         const MutableTensorView& out, const AttentionOptions& options,
                         const MutableTensorView& lse, ExecutionContext& context) {
  Problem p{q, k, v, out, lse, 1.0 / std::sqrt(static_cast<double>(q.size(3))), 0, {}};
  if (options.scale) p.scale = static_cast<double>(*options.scale);
  if (options.softcap) p.softcap = static_cast<double>(*options.softcap);
  const std::int64_t q_len = q.size(1), kv_len = k.size(1);
  for (std::int64_t b = 0; b < q.size(0); ++b) {
    p.sees.emplace_back(options.mask, MaskScope{b, 0, q_len, kv_len, kv_len - q_len});
  }
  std::vector<std::vector<double>> scores(static_cast<std::size_t>(context.threads()));
  for (auto& row : scores) row.resize(static_cast<std::size_t>(kv_len));
  context.pool().parallel_for(q.size(0) * q.size(2) * q_len, [&](std::int64_t item, int worker) {
    attend_row(p, item / (q.size(2) * q_len), item / q_len % q.size(2), item % q_len,
               scores[static_cast<std::size_t>(worker)]);
  });
}

}  // namespace raptly
