// GB/s of the merge: states read and out written once, beside a plain copy of the same bytes.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <vector>

#include "kernels/merge_states/merge_states.h"

namespace raptly {
namespace {

// [4096, 16, dim] f32: 16 to 32 MiB a state, far beyond the caches with three of them.
void BM_MergeTwo(benchmark::State& bench) {
  const std::int64_t q_len = 4096, n_heads = 16, v_dim = bench.range(0);
  const auto n = static_cast<std::size_t>(q_len * n_heads * v_dim);
  const std::vector<float> a(n, 1.0f), b(n, 2.0f);
  const std::vector<float> lse(static_cast<std::size_t>(q_len * n_heads), 0.5f);
  std::vector<float> out(n), merged(lse.size());
  const MergeStrides rows{n_heads * v_dim, v_dim, 1}, tokens{1, q_len, 1};
  const MergeSource states[] = {{a.data(), lse.data(), rows, tokens},
                                {b.data(), lse.data(), rows, tokens}};
  MergeItem item;
  item.states = states;
  item.out = out.data();
  item.lse = merged.data();
  item.out_strides = rows;
  item.lse_strides = tokens;
  item.query_end = q_len;
  item.n_heads = n_heads;
  item.v_dim = v_dim;
  std::vector<float> workspace(merge_states_workspace_floats(2, n_heads));
  for (auto _ : bench) merge_state_rows(item, workspace.data(), best_isa());
  bench.SetBytesProcessed(bench.iterations() * static_cast<std::int64_t>(3 * n * sizeof(float)));
}
BENCHMARK(BM_MergeTwo)->Arg(64)->Arg(128);

// What merging costs at least: two reads and a write, added up without weights.
void BM_AddTwo(benchmark::State& bench) {
  const auto n = static_cast<std::size_t>(4096 * 16 * bench.range(0));
  const std::vector<float> a(n, 1.0f), b(n, 2.0f);
  std::vector<float> out(n);
  for (auto _ : bench) {
    for (std::size_t i = 0; i < n; ++i) out[i] = a[i] + b[i];
    benchmark::ClobberMemory();
  }
  bench.SetBytesProcessed(bench.iterations() * static_cast<std::int64_t>(3 * n * sizeof(float)));
}
BENCHMARK(BM_AddTwo)->Arg(64)->Arg(128);

}  // namespace
}  // namespace raptly
