// f32 matrix product on packed panels: C[i, j] (+)= sum over t of A[i, t] * B[t, j], one FMA chain
// a value, t ascending. For standard attention, the baseline that benchmarks compare with.
//
// B is packed once into panels of gemm_panel(isa) columns, [n_panels][k][panel], the last one
// padded with zero columns to whole vectors; A is read as it lies.
#pragma once

#include <cstdint>

#include "raptly/execution.h"

namespace raptly {

std::int64_t gemm_panel(Isa isa);  // 48 columns on AVX-512, 24 on AVX2 and scalar, 12 on NEON

struct MatrixView {
  const float* at = nullptr;
  std::int64_t rows = 0, columns = 0, stride = 0;
};
inline std::int64_t gemm_packed_floats(std::int64_t k, std::int64_t n, Isa isa) {
  return (n + gemm_panel(isa) - 1) / gemm_panel(isa) * gemm_panel(isa) * k;
}

// Panel p of B [k, n], or of the transpose of B [n, k].
void gemm_pack(const MatrixView& b, std::int64_t p, float* packed, Isa isa) noexcept;
void gemm_pack_transposed(const MatrixView& b, std::int64_t p, float* packed, Isa isa) noexcept;

// All of C [a.rows, n] from packed B; k = a.columns. Whole vectors are written: C has columns up to
// a multiple of gemm_panel(isa).
struct GemmOutput {
  float* at = nullptr;
  std::int64_t n = 0, stride = 0;
};
void gemm(const MatrixView& a, const float* packed_b, const GemmOutput& c, Isa isa) noexcept;

// Row x[0..n), in log2 units, becomes p = 2^(x - m) over the first `visible` columns and 0 beyond;
// l = sum p, and m is the even integer next to the largest x. Nothing visible: m -inf, l 0.
struct SoftmaxBlock {
  float m, l;
};
SoftmaxBlock softmax_block(float* x, std::int64_t visible, std::int64_t n, Isa isa) noexcept;

// x[i] = a x[i] + b y[i]
struct RowMix {
  float a, b;
};
void mix_row(float* x, const float* y, std::int64_t n, const RowMix& mix, Isa isa) noexcept;

// Row x[0..n) becomes softmax(x) over the first `visible` columns, 0 beyond.
void softmax_row(float* x, std::int64_t visible, std::int64_t n, Isa isa) noexcept;

}  // namespace raptly
