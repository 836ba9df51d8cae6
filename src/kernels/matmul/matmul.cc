#include "kernels/matmul/matmul.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/matmul/matmul.cc"
#include "kernels/simd/targets.h"

#include "hwy/foreach_target.h"
#include "kernels/matmul/matmul-inl.h"

#if HWY_ONCE
#include "kernels/simd/dispatch.h"

namespace raptly {
namespace scalar {
extern const MatmulKernels kMatmulKernels;  // matmul_scalar.cc
}
#if defined(__x86_64__)
namespace vnni {  // matmul_vnni.cc
void int16_panels(const PanelMatrix& w, const ActivationBlock* x, const MatmulRange& range,
                  MatmulScratch& scratch);
}
#endif

bool cpu_has_vnni() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512vnni");
#else
  return false;
#endif
}

const MatmulKernels& matmul_kernels(Isa isa, bool vnni) {
#if defined(__x86_64__)
  static constexpr MatmulKernels kVnni = {"avx512_vnni", &N_AVX3::quantize_rows,
                                          &vnni::int16_panels, &N_AVX3::f32_panels};
  static const bool has_vnni = cpu_has_vnni();
  if (vnni && has_vnni && isa >= Isa::kAvx512) return kVnni;
#endif
  (void)vnni;
  return *RAPTLY_DISPATCH(isa, kMatmulKernels);
}

namespace {

PanelMatrix view(const PackedWeights& w) {
  return {w.panel(0), static_cast<std::int64_t>(w.panel_bytes()), w.n_out(), w.n_in(), w.type()};
}

}  // namespace

void quantize_activations(const float* x, std::int64_t rows, std::int64_t x_stride,
                          std::int64_t n_in, ActivationBlock* out, Isa isa) noexcept {
  matmul_kernels(isa).quantize(x, rows, x_stride, n_in, out);
}

void matmul_int16(const PackedWeights& w, const ActivationBlock* x, const MatmulRange& range,
                  MatmulScratch& scratch, Isa isa) noexcept {
  matmul_kernels(isa).int16(view(w), x, range, scratch);
}

void matmul_f32(const PackedWeights& w, const float* x, std::int64_t x_stride,
                const MatmulRange& range, MatmulScratch& scratch, Isa isa) noexcept {
  matmul_kernels(isa).f32(view(w), x, x_stride, range, scratch);
}

}  // namespace raptly
#endif
