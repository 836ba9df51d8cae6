#include "kernels/matmul/matmul.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/matmul/matmul.cc"
#include "kernels/simd/targets.h"

#include "hwy/foreach_target.h"
#include "kernels/matmul/matmul_int16-inl.h"

#if HWY_ONCE
namespace raptly {

#define RAPTLY_DECLARE(target)                                                                    \
  namespace target {                                                                              \
  void quantize_rows(const float* x, std::int64_t rows, std::int64_t x_stride, std::int64_t n_in, \
                     ActivationBlock* out);                                                       \
  void int16_panels(const PanelMatrix& w, const ActivationBlock* x, const MatmulRange& range,     \
                    MatmulScratch& scratch);                                                      \
  void f32_panels(const PanelMatrix& w, const float* x, std::int64_t x_stride,                    \
                  const MatmulRange& range, MatmulScratch& scratch);                              \
  }
#define RAPTLY_TABLE(name, target, int16_target)    \
  static constexpr MatmulKernels name##_kernels = { \
      #name, &target::quantize_rows, &int16_target::int16_panels, &target::f32_panels}
RAPTLY_DECLARE(scalar)  // matmul_scalar.cc
RAPTLY_TABLE(scalar, scalar, scalar);
#if defined(__x86_64__)
RAPTLY_DECLARE(N_AVX2)  // here and in matmul_f32.cc
RAPTLY_DECLARE(N_AVX3)
RAPTLY_DECLARE(vnni)  // matmul_vnni.cc: int16_panels only
RAPTLY_TABLE(avx2, N_AVX2, N_AVX2);
RAPTLY_TABLE(avx512, N_AVX3, N_AVX3);
RAPTLY_TABLE(avx512_vnni, N_AVX3, vnni);
#elif defined(__aarch64__)
RAPTLY_DECLARE(N_NEON)
RAPTLY_TABLE(neon, N_NEON, N_NEON);
#endif
#undef RAPTLY_DECLARE
#undef RAPTLY_TABLE

bool cpu_has_vnni() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512vnni");
#else
  return false;
#endif
}

const MatmulKernels& matmul_kernels(Isa isa, bool vnni) {
#if defined(__x86_64__)
  static const bool has_vnni = cpu_has_vnni();
  if (isa >= Isa::kAvx512) return vnni && has_vnni ? avx512_vnni_kernels : avx512_kernels;
  if (isa == Isa::kAvx2) return avx2_kernels;
#elif defined(__aarch64__)
  if (isa == Isa::kNeon) return neon_kernels;
#endif
  (void)isa, (void)vnni;
  return scalar_kernels;
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
