// Microbenchmark of the baseline's GEMM, one thread, packing included: GFLOP/s of C = A B and
// C = A B^T for the two products of standard attention. tools compare it with torch.mm:
// bench/rivals.py --gemm.
#include <benchmark/benchmark.h>

#include "base/aligned.h"
#include "base/cpu_features.h"
#include "kernels/gemm/gemm.h"

namespace raptly {
namespace {

AlignedBytes filled(std::int64_t floats) {
  AlignedBytes bytes(static_cast<std::size_t>(floats) * 4);
  auto* at = reinterpret_cast<float*>(bytes.data());
  for (std::int64_t i = 0; i < floats; ++i) at[i] = static_cast<float>(i % 13) / 13.0f - 0.5f;
  return bytes;
}

// range(0) x range(1) = [range(0), range(2)] times B of range(2) x range(1).
void product(benchmark::State& state, bool transposed) {
  const Isa isa = best_isa();
  const std::int64_t m = state.range(0), n = state.range(1), k = state.range(2);
  const std::int64_t panel = gemm_panel(isa), panels = (n + panel - 1) / panel;
  const AlignedBytes a = filled(m * k), b = filled(n * k);
  AlignedBytes packed = filled(gemm_packed_floats(k, n, isa)), c = filled(m * panels * panel);
  const auto* from = reinterpret_cast<const float*>(b.data());
  auto* to = reinterpret_cast<float*>(packed.data());
  for (auto _ : state) {
    for (std::int64_t p = 0; p < panels; ++p) {
      if (transposed) {
        gemm_pack_transposed({from, n, k, k}, p, to + p * panel * k, isa);
      } else {
        gemm_pack({from, k, n, n}, p, to + p * panel * k, isa);
      }
    }
    gemm({reinterpret_cast<const float*>(a.data()), m, k, k}, to,
         {reinterpret_cast<float*>(c.data()), panels * panel, panels * panel}, isa);
    benchmark::ClobberMemory();
  }
  state.counters["gflops"] = benchmark::Counter(
      2.0 * static_cast<double>(m * n * k) * static_cast<double>(state.iterations()) / 1e9,
      benchmark::Counter::kIsRate);
}

void scores(benchmark::State& state) { product(state, true); }
void values(benchmark::State& state) { product(state, false); }

BENCHMARK(scores)
    ->Name("gemm/scores")
    ->Args({512, 512, 64})
    ->Args({2048, 2048, 64})
    ->Args({2048, 2048, 128});
BENCHMARK(values)
    ->Name("gemm/values")
    ->Args({512, 64, 512})
    ->Args({2048, 64, 2048})
    ->Args({2048, 128, 2048});

}  // namespace
}  // namespace raptly
