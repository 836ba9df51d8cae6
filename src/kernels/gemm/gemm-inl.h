#if defined(RAPTLY_GEMM_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RAPTLY_GEMM_INL_H
#undef RAPTLY_GEMM_INL_H
#else
#define RAPTLY_GEMM_INL_H
#endif

#include <algorithm>

#include "kernels/gemm/gemm.h"
#include "kernels/microkernel/mm-inl.h"
#include "kernels/softmax_state/softmax_state-inl.h"
#if RAPTLY_TARGET_ENABLED
RAPTLY_BEFORE_TARGET();
namespace raptly {
namespace RAPTLY_TARGET {

constexpr int kGemmVecs = 3;
constexpr std::int64_t kGemmPanel = kGemmVecs * kLanes;
constexpr std::int64_t kInner = 256;  // of k at a time: a slice of a panel (48 KiB) stays near

std::int64_t panel_columns() { return kGemmPanel; }

// Columns of a panel of n that gemm reads: whole vectors.
inline std::int64_t columns_used(std::int64_t n) { return (n + kLanes - 1) / kLanes * kLanes; }

void pack_panel_of(const MatrixView& b, std::int64_t p, float* packed) {
  const std::int64_t first = p * kGemmPanel, n = std::min(kGemmPanel, b.columns - first);
  float* out = packed + p * kGemmPanel * b.rows;
  for (std::int64_t t = 0; t < b.rows; ++t, out += kGemmPanel) {
    const float* row = b.at + t * b.stride + first;
    std::copy_n(row, n, out);
    std::fill(out + n, out + columns_used(n), 0.0f);
  }
}

void pack_panel_transposed(const MatrixView& b, std::int64_t p, float* packed) {
  const std::int64_t first = p * kGemmPanel, n = std::min(kGemmPanel, b.rows - first);
  float* out = packed + p * kGemmPanel * b.columns;
  for (std::int64_t j = 0; j < columns_used(n); ++j) {
    const float* row = b.at + (first + j) * b.stride;
    for (std::int64_t t = 0; t < b.columns; ++t) out[t * kGemmPanel + j] = j < n ? row[t] : 0.0f;
  }
}

template <int kVecs>
void gemm_panel_of(const MatrixView& a, const float* panel, const GemmOutput& c) {
  const Sums sums{c.at, c.stride};
  for (std::int64_t t = 0; t < a.columns || t == 0; t += kInner) {
    const std::int64_t some = std::min(kInner, a.columns - t);
    const LaneRows<float> lanes{panel + t * kGemmPanel, kGemmPanel};
    const Broadcasts rows{a.at + t, a.stride, 1};
    if (t == 0) {
      mm_rows<kVecs, false>(a.rows, rows, lanes, sums, some);
    } else {
      mm_rows<kVecs, true>(a.rows, rows, lanes, sums, some);
    }
  }
}

// The last panel computes only the vectors that have columns: a head_dim of 64 is a panel of three
// and one of one, where two of three were 26 % slower.
void gemm_all(const MatrixView& a, const float* packed, const GemmOutput& c) {
  for (std::int64_t j = 0; j < c.n; j += kGemmPanel) {
    const GemmOutput part{c.at + j, c.n - j, c.stride};
    const float* panel = packed + j * a.columns;
    if (part.n > 2 * kLanes) {
      gemm_panel_of<3>(a, panel, part);
    } else if (part.n > kLanes) {
      gemm_panel_of<2>(a, panel, part);
    } else {
      gemm_panel_of<1>(a, panel, part);
    }
  }
}

SoftmaxBlock softmax_of_block(float* x, std::int64_t visible, std::int64_t n) {
  std::int64_t i = 0;
  Vf best = set(kMinusInfinity);
  for (; i + kLanes <= visible; i += kLanes) best = max(load(x + i), best);
  float highest = max_lane(best);
  for (; i < visible; ++i) highest = std::max(highest, x[i]);
  const Vf m = nearest_even(set(highest));
  const Pow2Base base(m);
  Vf sum = zero();
  for (i = 0; i + kLanes <= visible; i += kLanes) {
    const Vf p = pow2(load(x + i), base);
    store(p, x + i);
    sum = add(sum, p);
  }
  float lanes[kLanes], total = 0;
  store(sum, lanes);
  for (const float lane : lanes) total += lane;
  for (; i < visible; ++i) {
    x[i] = first_lane(pow2(set(x[i]), base));
    total += x[i];
  }
  std::fill(x + visible, x + n, 0.0f);
  return {first_lane(m), total};
}

void softmax_of_row(float* x, std::int64_t visible, std::int64_t n) {
  const float total = softmax_of_block(x, visible, n).l;
  const float inverse = total > 0 ? 1.0f / total : 0.0f;
  std::int64_t i = 0;
  for (; i + kLanes <= visible; i += kLanes) store(mul(load(x + i), set(inverse)), x + i);
  for (; i < visible; ++i) x[i] *= inverse;
}

void mix_row_of(float* x, const float* y, std::int64_t n, const RowMix& mix) {
  const Vf a = set(mix.a), b = set(mix.b);
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(fma(b, load(y + i), mul(a, load(x + i))), x + i);
  for (; i < n; ++i) x[i] = mix.a * x[i] + mix.b * y[i];
}

}  // namespace RAPTLY_TARGET
}  // namespace raptly
RAPTLY_AFTER_TARGET();
#endif
#endif
