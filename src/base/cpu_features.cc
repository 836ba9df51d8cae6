#include "base/cpu_features.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <set>
#include <string>

#include "base/thread_pool.h"
#include "raptly/error.h"
#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace raptly {
namespace {

#if defined(__x86_64__)
bool bit(unsigned word, int index) { return (word >> index & 1) != 0; }

unsigned long long enabled_state() {
  unsigned low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<unsigned long long>(high) << 32 | low;
}

bool may_use_tiles() {
  constexpr long kRequestPermission = 0x1023,
                 kTileData = 18;  // arch_prctl(ARCH_REQ_XCOMP_PERM, ...)
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

bool has_fast_bf16_dots() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(0, &a, &b, &c, &d) == 0) return false;
  const unsigned words[] = {b, d, c};
  char vendor[12];
  std::memcpy(vendor, words, 12);
  if (__get_cpuid(1, &a, &b, &c, &d) == 0) return false;
  const unsigned base = a >> 8 & 0xf;
  return bf16_dot_ratio({vendor, 12}, base == 0xf ? base + (a >> 20 & 0xff) : base) >= 1.5;
}

CpuFeatures read_features() {
  CpuFeatures f;
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || !bit(c, 27)) return f;  // no OSXSAVE
  const bool fma_f16c = bit(c, 12) && bit(c, 29);
  const unsigned long long state = enabled_state();
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (state & 0x6) != 0x6) return f;
  f.avx2 = fma_f16c && bit(b, 5) && bit(b, 3) && bit(b, 8);
  f.avx512 = f.avx2 && (state & 0xe6) == 0xe6 && bit(b, 16) && bit(b, 17) && bit(b, 28) &&
             bit(b, 30) && bit(b, 31);
  f.avx512_vnni = f.avx512 && bit(c, 11);
  const bool tiles = bit(d, 22) && bit(d, 24) && bit(d, 25) && (state & 0x60000) == 0x60000;
  unsigned a1 = 0;
  if (__get_cpuid_count(7, 1, &a1, &b, &c, &d) != 0) f.avx512_bf16 = f.avx512 && bit(a1, 5);
  f.fast_bf16_dots = f.avx512_bf16 && has_fast_bf16_dots();
  f.amx = f.avx512_bf16 && tiles && may_use_tiles();
  return f;
}
#else
CpuFeatures read_features() {
  CpuFeatures f;
#if defined(__aarch64__)
  f.neon = true;
#endif
  return f;
}
#endif

// CPUs of the cgroup's quota, or a large number when there is none.
double quota_cpus() {
  double cpus = 1e9;
  std::ifstream v2("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (v2 >> quota >> period && quota != "max" && period > 0) {
    cpus = std::atof(quota.c_str()) / period;
  }
  std::ifstream v1_quota("/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
  std::ifstream v1_period("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  double quota_us = 0, period_us = 0;
  if (v1_quota >> quota_us && v1_period >> period_us && quota_us > 0 && period_us > 0) {
    cpus = std::min(cpus, quota_us / period_us);
  }
  return cpus;
}

// Distinct cores among the CPUs of the affinity mask; hyperthreads of a core share its sibling
// list.
int physical_cores(const cpu_set_t& mask) {
  std::set<std::string> cores;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &mask)) continue;
    std::ifstream file("/sys/devices/system/cpu/cpu" + std::to_string(cpu) +
                       "/topology/thread_siblings_list");
    std::string siblings = "cpu" + std::to_string(cpu);
    std::getline(file, siblings);
    cores.insert(siblings.empty() ? "cpu" + std::to_string(cpu) : siblings);
  }
  return static_cast<int>(cores.size());
}

cpu_set_t affinity() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  if (sched_getaffinity(0, sizeof(mask), &mask) != 0) CPU_SET(0, &mask);
  return mask;
}

}  // namespace

double bf16_dot_ratio(std::string_view vendor, unsigned family) {
  struct Measured {
    std::string_view vendor;
    unsigned family;  // extended
    double ratio;     // GFLOP/s of one core: vdpbf16ps / f32 FMA, 512 bits
  };
  constexpr Measured kTable[] = {
      {"AuthenticAMD", 0x19, 2.0},  // Zen 4: 235 / 115 (the Zen 3 of this family has no bf16)
      {"AuthenticAMD", 0x1a, 2.0},  // Zen 5: 443 / 223
      {"GenuineIntel", 0x06, 0.5},  // Xeon with AMX: 120 / 242
  };
  for (const Measured& m : kTable) {
    if (m.vendor == vendor && m.family == family) return m.ratio;
  }
  return 0;
}

const CpuFeatures& cpu_features() {
  static const CpuFeatures features = read_features();
  return features;
}

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::kScalar:
      return "scalar";
    case Isa::kNeon:
      return "neon";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAvx512Bf16:
      return "avx512_bf16";
    case Isa::kAmx:
      return "amx";
  }
  return "unknown";
}

std::vector<Isa> levels_of(const CpuFeatures& features, const char* limit) {
  constexpr Isa kAll[] = {Isa::kScalar, Isa::kNeon,       Isa::kAvx2,
                          Isa::kAvx512, Isa::kAvx512Bf16, Isa::kAmx};
  Isa highest = Isa::kAmx;
  if (limit != nullptr && *limit != '\0') {
    const auto* named = std::find_if(std::begin(kAll), std::end(kAll),
                                     [&](Isa isa) { return std::string(isa_name(isa)) == limit; });
    if (named == std::end(kAll)) {
      throw Error(ErrorCode::kInvalidArgument,
                  "[RAPTLY_MAX_ISA] is \"" + std::string(limit) +
                      "\". It must be scalar, neon, avx2, avx512, avx512_bf16 or amx.");
    }
    highest = *named;
  }
  const bool bf16_dots =
      features.avx512_bf16 && (features.fast_bf16_dots || highest == Isa::kAvx512Bf16);
  const bool has[] = {true, features.neon, features.avx2, features.avx512, bf16_dots, features.amx};
  std::vector<Isa> levels;
  for (std::size_t i = 0; i < std::size(kAll); ++i) {
    if (has[i] && kAll[i] <= highest) levels.push_back(kAll[i]);
  }
  return levels;
}

const std::vector<Isa>& supported_isas() {
  static const std::vector<Isa> levels = levels_of(cpu_features(), std::getenv("RAPTLY_MAX_ISA"));
  return levels;
}

Isa best_isa() { return supported_isas().back(); }

int available_cpus() {
  const cpu_set_t mask = affinity();
  const double cpus = std::min(static_cast<double>(CPU_COUNT(&mask)), std::ceil(quota_cpus()));
  return std::max(1, static_cast<int>(cpus));
}

int default_thread_count() {
  return std::max(1, std::min(available_cpus(), physical_cores(affinity())));
}

}  // namespace raptly
