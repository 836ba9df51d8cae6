#include "kernels/gemm/gemm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gemm/gemm.cc"
#include "kernels/simd/targets.h"

#include "hwy/foreach_target.h"
#include "kernels/gemm/gemm-inl.h"

#if HWY_ONCE
#include "kernels/simd/dispatch.h"

namespace raptly {
namespace scalar {  // gemm_scalar.cc
std::int64_t panel_columns();
void pack_panel_of(const MatrixView& b, std::int64_t p, float* packed);
void pack_panel_transposed(const MatrixView& b, std::int64_t p, float* packed);
void gemm_all(const MatrixView& a, const float* packed, const GemmOutput& c);
SoftmaxBlock softmax_of_block(float* x, std::int64_t visible, std::int64_t n);
void softmax_of_row(float* x, std::int64_t visible, std::int64_t n);
void mix_row_of(float* x, const float* y, std::int64_t n, const RowMix& mix);
}  // namespace scalar

std::int64_t gemm_panel(Isa isa) { return RAPTLY_DISPATCH(isa, panel_columns)(); }
void gemm_pack(const MatrixView& b, std::int64_t p, float* packed, Isa isa) noexcept {
  RAPTLY_DISPATCH(isa, pack_panel_of)(b, p, packed);
}
void gemm_pack_transposed(const MatrixView& b, std::int64_t p, float* packed, Isa isa) noexcept {
  RAPTLY_DISPATCH(isa, pack_panel_transposed)(b, p, packed);
}
void gemm(const MatrixView& a, const float* packed_b, const GemmOutput& c, Isa isa) noexcept {
  RAPTLY_DISPATCH(isa, gemm_all)(a, packed_b, c);
}
SoftmaxBlock softmax_block(float* x, std::int64_t visible, std::int64_t n, Isa isa) noexcept {
  return RAPTLY_DISPATCH(isa, softmax_of_block)(x, visible, n);
}
void mix_row(float* x, const float* y, std::int64_t n, const RowMix& mix, Isa isa) noexcept {
  RAPTLY_DISPATCH(isa, mix_row_of)(x, y, n, mix);
}
void softmax_row(float* x, std::int64_t visible, std::int64_t n, Isa isa) noexcept {
  RAPTLY_DISPATCH(isa, softmax_of_row)(x, visible, n);
}

}  // namespace raptly
#endif
