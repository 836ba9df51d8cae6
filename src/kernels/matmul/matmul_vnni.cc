// The int16 kernels with vpdpwssd, which multiplies and adds in one instruction what avx512 does in
// two: equal bits. Compiled for AVX-512 VNNI as a whole (cmake/Rooms.cmake), so it must not emit
// any inline function that another file may share: templates in a namespace of their own, no
// library calls.
#if defined(__x86_64__)
#define RAPTLY_VNNI_BUILD
#include "kernels/simd/targets.h"

#include "kernels/matmul/matmul_int16-inl.h"

static_assert(HWY_TARGET == HWY_AVX3, "needs the flags of *_vnni.cc");

namespace raptly {
namespace vnni {

void int16_panels(const PanelMatrix& w, const ActivationBlock* x, const MatmulRange& range,
                  MatmulScratch& scratch) {
  N_AVX3::with_vnni::int16_types(w, x, range, scratch);
}

}  // namespace vnni
}  // namespace raptly
#endif
