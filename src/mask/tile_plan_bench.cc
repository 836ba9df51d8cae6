// Microbenchmark of planning: milliseconds for the masks of docs/design_decisions.md over 64k x 64k
// in tiles of 48 queries. Build with RAPTLY_BENCH=ON, run build/.../raptly_mask_bench.
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "mask/tile_plan.h"

namespace raptly {
namespace {

constexpr std::int64_t kLength = 65536;

void plan(benchmark::State& state, const Mask& mask) {
  std::size_t bytes = 0;
  for (auto _ : state) {
    const TilePlan plan(mask, bottom_right_scope(kLength, kLength, 0, 0), 48);
    bytes = plan.memory_bytes();
    benchmark::DoNotOptimize(bytes);
  }
  state.counters["bytes"] = static_cast<double>(bytes);
}

Mask packed() {
  std::vector<std::int64_t> cu;
  for (std::int64_t at = 0; at < kLength; at += 700) cu.push_back(at);
  cu.push_back(kLength);
  return mask::causal() & mask::packed(std::move(cu));
}

BENCHMARK_CAPTURE(plan, causal, mask::causal())->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(plan, causal_window_256, mask::causal() & mask::window(256, 0))
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(plan, longformer_512, mask::longformer(512, {0}))->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(plan, bigbird_64, mask::bigbird(64, 3, 0))->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(plan, packed_700, packed())->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace raptly
