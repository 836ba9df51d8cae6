// The kernels of one level, behind the functions of matmul.h. Plain types only: matmul_vnni.cc is
// compiled with flags of its own and must not emit an inline function that other files share.
#pragma once

#include <cstdint>

#include "kernels/matmul/matmul.h"

namespace raptly {

// As f32 bits: blocks of activations whose largest magnitude is below 2^-101 are zero, those at or
// above infinity make their scale NaN.
constexpr std::int32_t kTinyBits = 0x0d000000, kInfinityBits = 0x7f800000;

struct PanelMatrix {  // what kernels see of PackedWeights
  const std::byte* data;
  std::int64_t panel_bytes;
  std::int64_t n_out, n_in;
  WeightType type;
};

struct MatmulKernels {
  const char* name;
  void (*quantize)(const float* x, std::int64_t rows, std::int64_t x_stride, std::int64_t n_in,
                   ActivationBlock* out);
  void (*int16)(const PanelMatrix& w, const ActivationBlock* x, const MatmulRange& range,
                MatmulScratch& scratch);
  void (*f32)(const PanelMatrix& w, const float* x, std::int64_t x_stride, const MatmulRange& range,
              MatmulScratch& scratch);
};

// All give the same bits. Levels from avx512 up take vpdpwssd where the CPU has it, unless !vnni.
const MatmulKernels& matmul_kernels(Isa isa, bool vnni = true);
bool cpu_has_vnni();

}  // namespace raptly
