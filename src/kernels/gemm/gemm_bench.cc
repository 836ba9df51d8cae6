// Microbenchmark of the baseline's GEMM: GFLOP/s of C = A B and C = A B^T for the two products of
// standard attention, packing included, cut over threads as standard attention cuts them.
// bench/rivals.py --gemm compares it with torch.mm.
#include <benchmark/benchmark.h>

#include <algorithm>

#include "base/aligned.h"
#include "base/thread_pool.h"
#include "kernels/gemm/gemm.h"
#include "raptly/execution.h"

namespace raptly {
namespace {

AlignedBytes filled(std::int64_t floats) {
  AlignedBytes bytes(static_cast<std::size_t>(floats) * 4);
  auto* at = reinterpret_cast<float*>(bytes.data());
  for (std::int64_t i = 0; i < floats; ++i) at[i] = static_cast<float>(i % 13) / 13.0f - 0.5f;
  return bytes;
}

// range(0) x range(1) = [range(0), range(2)] times B of range(2) x range(1), on range(3) threads.
void product(benchmark::State& state, bool transposed) {
  constexpr std::int64_t kRows = 96;  // of an item, as in standard attention
  const std::int64_t m = state.range(0), n = state.range(1), k = state.range(2);
  ExecutionContext context(static_cast<int>(state.range(3)));
  const Isa isa = context.isa();
  const std::int64_t panel = gemm_panel(isa), panels = (n + panel - 1) / panel;
  const AlignedBytes a = filled(m * k), b = filled(n * k);
  AlignedBytes packed = filled(gemm_packed_floats(k, n, isa)), c = filled(m * panels * panel);
  const auto* left = reinterpret_cast<const float*>(a.data());
  const auto* from = reinterpret_cast<const float*>(b.data());
  auto* to = reinterpret_cast<float*>(packed.data());
  auto* result = reinterpret_cast<float*>(c.data());
  for (auto _ : state) {
    context.pool().parallel_for(panels, [&](std::int64_t p, int) {
      if (transposed) {
        gemm_pack_transposed({from, n, k, k}, p, to, isa);
      } else {
        gemm_pack({from, k, n, n}, p, to, isa);
      }
    });
    context.pool().parallel_for((m + kRows - 1) / kRows, [&](std::int64_t item, int) {
      const std::int64_t first = item * kRows, rows = std::min(kRows, m - first);
      gemm({left + first * k, rows, k, k}, to, {result + first * panels * panel, n, panels * panel},
           isa);
    });
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
    ->ArgsProduct({{512}, {512}, {64, 128}, {1, 2}})
    ->ArgsProduct({{2048}, {2048}, {64, 128}, {1, 2}})
    ->ArgsProduct({{4096}, {4096}, {64, 128}, {1, 2}})
    ->MinTime(0.25)
    ->UseRealTime();
BENCHMARK(values)
    ->Name("gemm/values")
    ->ArgsProduct({{512}, {64, 128}, {512}, {1, 2}})
    ->ArgsProduct({{2048}, {64, 128}, {2048}, {1, 2}})
    ->ArgsProduct({{4096}, {64, 128}, {4096}, {1, 2}})
    ->MinTime(0.25)
    ->UseRealTime();

}  // namespace
}  // namespace raptly
