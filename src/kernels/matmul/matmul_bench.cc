// Microbenchmarks of the matmul, one thread: GOP/s (2 n_out n_in a row), share of the level's
// integer or f32 peak as measured here, packed GB/s. Filter by name:
// int16/avx512_vnni/Q4_1/576x1536/rows:512.
#include <benchmark/benchmark.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <chrono>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels/matmul/matmul.h"
#include "kernels/matmul/matmul_kernels.h"
#include "kernels/matmul/random_weights.h"

namespace raptly {
namespace {

PackedWeights random_matrix(WeightType type, std::int64_t n_out, std::int64_t n_in) {
  PackedWeights w(type, n_out, n_in);
  w.pack_rows(random_weights(type, n_out * n_in, 1).data(), 0, n_out);
  return w;
}

#if defined(__x86_64__)
// Twelve independent chains of one instruction; operations a second.
#define RAPTLY_SPIN(name, features, Vector, zero, step, operations)                               \
  __attribute__((target(features))) double name() {                                               \
    Vector w = zero;                                                                              \
    double best = 1e30;                                                                           \
    for (int trial = 0; trial < 40; ++trial) {                                                    \
      const auto start = std::chrono::steady_clock::now();                                        \
      Vector a0 = w, a1 = w, a2 = w, a3 = w, a4 = w, a5 = w, a6 = w, a7 = w, a8 = w, a9 = w;      \
      Vector a10 = w, a11 = w;                                                                    \
      for (int i = 0; i < 20000; ++i) {                                                           \
        step(a0) step(a1) step(a2) step(a3) step(a4) step(a5) step(a6) step(a7) step(a8) step(a9) \
            step(a10) step(a11)                                                                   \
      }                                                                                           \
      const std::chrono::duration<double> t = std::chrono::steady_clock::now() - start;           \
      if (t.count() < best) best = t.count();                                                     \
    }                                                                                             \
    return 20000.0 * 12 * (operations) / best;                                                    \
  }
#define RAPTLY_VNNI_STEP(a)         \
  a = _mm512_dpwssd_epi32(a, w, w); \
  asm volatile("" : "+v"(a), "+v"(w));
#define RAPTLY_MADD512_STEP(a)                      \
  a = _mm512_add_epi32(a, _mm512_madd_epi16(w, w)); \
  asm volatile("" : "+v"(a), "+v"(w));
#define RAPTLY_MADD256_STEP(a)                      \
  a = _mm256_add_epi32(a, _mm256_madd_epi16(w, w)); \
  asm volatile("" : "+x"(a), "+x"(w));
#define RAPTLY_FMA512_STEP(a)   \
  a = _mm512_fmadd_ps(w, w, a); \
  asm volatile("" : "+v"(a), "+v"(w));
#define RAPTLY_FMA256_STEP(a)   \
  a = _mm256_fmadd_ps(w, w, a); \
  asm volatile("" : "+x"(a), "+x"(w));
RAPTLY_SPIN(peak_vnni, "avx512f,avx512vnni", __m512i, _mm512_setzero_si512(), RAPTLY_VNNI_STEP, 64)
RAPTLY_SPIN(peak_madd512, "avx512f,avx512bw", __m512i, _mm512_setzero_si512(), RAPTLY_MADD512_STEP,
            64)
RAPTLY_SPIN(peak_madd256, "avx2", __m256i, _mm256_setzero_si256(), RAPTLY_MADD256_STEP, 32)
RAPTLY_SPIN(peak_fma512, "avx512f", __m512, _mm512_setzero_ps(), RAPTLY_FMA512_STEP, 32)
RAPTLY_SPIN(peak_fma256, "avx2,fma", __m256, _mm256_setzero_ps(), RAPTLY_FMA256_STEP, 16)

double peak(const std::string& level, bool int16) {
  if (level == "avx512_vnni") return int16 ? peak_vnni() : peak_fma512();
  if (level == "avx512") return int16 ? peak_madd512() : peak_fma512();
  return int16 ? peak_madd256() : peak_fma256();
}
#else
double peak(const std::string&, bool) { return 0.0; }
#endif

struct Case {
  const MatmulKernels* kernels;
  WeightType type;
  std::int64_t n_in, n_out, rows;
  bool int16;
};

void run_case(benchmark::State& state, const Case& c) {
  const PackedWeights w = random_matrix(c.type, c.n_out, c.n_in);
  const PanelMatrix panels{w.panel(0), static_cast<std::int64_t>(w.panel_bytes()), w.n_out(),
                           w.n_in(), w.type()};
  std::vector<float> x(c.rows * c.n_in);
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  for (float& v : x) v = normal(random);
  AlignedArray<ActivationBlock> blocks(c.rows * c.n_in / 32);
  AlignedArray<float> y(c.rows * c.n_out);
  auto scratch = std::make_unique<MatmulScratch>();
  c.kernels->quantize(x.data(), c.rows, c.n_in, c.n_in, blocks.data());
  const MatmulRange range{c.rows, 0, w.n_panels(), y.data(), c.n_out};
  const double before = peak(c.kernels->name, c.int16);
  for (auto _ : state) {
    if (c.int16) {
      c.kernels->int16(panels, blocks.data(), range, *scratch);
    } else {
      c.kernels->f32(panels, x.data(), c.n_in, range, *scratch);
    }
    benchmark::ClobberMemory();
  }
  const double after = peak(c.kernels->name, c.int16), top = before > after ? before : after;
  const double operations = 2.0 * static_cast<double>(c.rows * c.n_in * c.n_out);
  using benchmark::Counter;
  state.counters["op/s"] = Counter(operations, Counter::kIsIterationInvariantRate);
  if (top > 0) {
    state.counters["%peak"] = Counter(operations / top * 100, Counter::kIsIterationInvariantRate);
  }
  state.counters["packed_B/s"] =
      Counter(static_cast<double>(w.nbytes()), Counter::kIsIterationInvariantRate);
}

void run_quantize(benchmark::State& state, const MatmulKernels& kernels) {
  constexpr std::int64_t kRows = 512, kIn = 576;
  std::vector<float> x(kRows * kIn, 0.5f);
  AlignedArray<ActivationBlock> blocks(kRows * kIn / 32);
  for (auto _ : state) {
    kernels.quantize(x.data(), kRows, kIn, kIn, blocks.data());
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * kRows * kIn);
}

void run_pack(benchmark::State& state, WeightType type) {
  constexpr std::int64_t kOut = 1536, kIn = 768;
  const std::vector<std::byte> file = random_weights(type, kOut * kIn, 1);
  PackedWeights w(type, kOut, kIn);
  for (auto _ : state) {
    w.pack_rows(file.data(), 0, kOut);
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(file.size()));
}

void run_unpack_row(benchmark::State& state, WeightType type) {
  const PackedWeights w = random_matrix(type, 4096, 768);
  float row[768];
  std::int64_t o = 0;
  for (auto _ : state) {
    unpack_row(w, o = (o * 5 + 1) % 4096, row);
    benchmark::DoNotOptimize(row);
  }
  state.SetItemsProcessed(state.iterations() * 768);
}

void add_matmuls(const MatmulKernels& kernels, WeightType type, bool int16) {
  constexpr std::int64_t kShapes[][2] = {
      {576, 576}, {576, 192}, {576, 1536}, {1536, 576}, {576, 49152}};
  for (const auto& [n_in, n_out] : kShapes) {
    const std::int64_t padded =
        weight_type_info(type).block_elements == 256 ? (n_in + 255) / 256 * 256 : n_in;
    for (const std::int64_t rows : {1, 2, 4, 6, 8, 16, 64, 512}) {
      if (n_out > 4096 && rows > 16) continue;
      const Case c{&kernels, type, padded, n_out, rows, int16};
      const std::string name = std::string(int16 ? "int16/" : "f32/") + kernels.name + "/" +
                               weight_type_info(type).name + "/" + std::to_string(padded) + "x" +
                               std::to_string(n_out) + "/rows:" + std::to_string(rows);
      benchmark::RegisterBenchmark(name.c_str(), [c](benchmark::State& s) { run_case(s, c); });
    }
  }
}

int register_all() {
  std::vector<const MatmulKernels*> levels;
  for (const Isa isa : supported_isas()) {
    if (isa > Isa::kAvx512 || isa == Isa::kScalar) continue;
    levels.push_back(&matmul_kernels(isa, false));
    if (isa == Isa::kAvx512 && cpu_has_vnni()) levels.push_back(&matmul_kernels(isa));
  }
  for (const MatmulKernels* kernels : levels) {
    for (int t = 0; t < kWeightTypeCount; ++t) {
      const WeightType type = static_cast<WeightType>(t);
      if (type >= WeightType::kQ4_0) add_matmuls(*kernels, type, true);
      add_matmuls(*kernels, type, false);
    }
    benchmark::RegisterBenchmark((std::string("quantize/") + kernels->name).c_str(),
                                 [kernels](benchmark::State& s) { run_quantize(s, *kernels); });
  }
  for (int t = 0; t < kWeightTypeCount; ++t) {
    const WeightType type = static_cast<WeightType>(t);
    const std::string name = weight_type_info(type).name;
    benchmark::RegisterBenchmark(("pack_rows/" + name).c_str(),
                                 [type](benchmark::State& s) { run_pack(s, type); });
    benchmark::RegisterBenchmark(("unpack_row/" + name).c_str(),
                                 [type](benchmark::State& s) { run_unpack_row(s, type); });
  }
  return 0;
}
const int kRegistered = register_all();

}  // namespace
}  // namespace raptly
