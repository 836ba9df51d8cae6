// What the CPU and the operating system offer, read once.
#pragma once

#include <span>

#include "raptly/execution.h"

namespace raptly {

struct CpuFeatures {
  bool avx2 = false;         // with fma, f16c, bmi2
  bool avx512 = false;       // f, dq, cd, bw, vl
  bool avx512_vnni = false;  // vpdpwssd: equal bits to vpmaddwd, so no level of its own
  bool avx512_bf16 = false;
  bool amx = false;  // tile, int8, bf16, and the kernel's permission
  bool neon = false;
};
const CpuFeatures& cpu_features();

// Levels of a machine with these features up to the level named `limit` (null: no limit), narrowest
// first. Throws kInvalidArgument when `limit` is not a name.
std::vector<Isa> levels_of(const CpuFeatures& features, const char* limit);

// CPUs that the calling thread may run on: min(affinity mask, cgroup quota); hyperthreads counted.
int available_cpus();

}  // namespace raptly
