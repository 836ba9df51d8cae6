// What the CPU and the operating system offer, read once.
#pragma once

#include <string_view>
#include <vector>

#include "raptly/execution.h"

namespace raptly {

struct CpuFeatures {
  bool avx2 = false;         // with fma, f16c, bmi2
  bool avx512 = false;       // f, dq, cd, bw, vl
  bool avx512_vnni = false;  // vpdpwssd: equal bits to vpmaddwd, so no level of its own
  bool avx512_bf16 = false;
  bool fast_bf16_dots = false;  // see bf16_dot_ratio
  bool amx = false;             // tile, int8, bf16, and the kernel's permission
  bool neon = false;
};
const CpuFeatures& cpu_features();

// vdpbf16ps against f32 FMA, in flops, measured on this family of CPUs; 0 where nobody measured.
// The level avx512_bf16 is chosen from 1.5 on. A fixed table: a timing at run time would choose
// bits.
double bf16_dot_ratio(std::string_view vendor, unsigned family);

// Levels of a machine with these features up to the level named `limit` (null: no limit), narrowest
// first. avx512_bf16 is one of them where its dot products are fast, or when it is the limit.
// Throws kInvalidArgument when `limit` is not a name.
std::vector<Isa> levels_of(const CpuFeatures& features, const char* limit);

// CPUs that the calling thread may run on: min(affinity mask, cgroup quota); hyperthreads counted.
int available_cpus();

}  // namespace raptly
