// The second pass of statistics beside the forward pass it belongs to.
#include <benchmark/benchmark.h>

#include <vector>

#include "raptly/attention.h"
#include "raptly/statistics.h"

namespace raptly {
namespace {

constexpr std::int64_t kHeads = 8, kDim = 64;

struct Case {
  std::int64_t len;
  std::vector<float> q, k, out, lse, entropy, max, mass;
  std::vector<std::int64_t> index;
  std::vector<float> weight;
  AttentionOptions options;

  explicit Case(std::int64_t n)
      : len(n),
        q(static_cast<std::size_t>(n * kHeads * kDim)),
        k(q.size()),
        out(q.size()),
        lse(static_cast<std::size_t>(n * kHeads)),
        entropy(lse.size()),
        max(lse.size()),
        mass(lse.size()),
        index(lse.size() * 16),
        weight(index.size()) {
    for (std::size_t i = 0; i < q.size(); ++i) {
      q[i] = static_cast<float>(i * 7919 % 1009) / 500 - 1;
      k[i] = static_cast<float>(i * 104729 % 997) / 500 - 1;
    }
    options.mask = mask::causal();
    attention(view(q), view(k), view(k), {out.data(), {1, len, kHeads, kDim}}, options,
              {lse.data(), {1, kHeads, len}});
  }
  TensorView view(const std::vector<float>& t) const { return {t.data(), {1, len, kHeads, kDim}}; }
  MutableTensorView rows(std::vector<float>& t) const { return {t.data(), {1, kHeads, len}}; }
  void run(const AttentionStatistics& wanted, ExecutionContext& context) {
    attention_statistics(view(q), view(k), rows(lse), wanted, options, context);
  }
};

void BM_Forward(benchmark::State& bench) {
  Case c(bench.range(0));
  ExecutionContext context(1);
  for (auto _ : bench) {
    attention(c.view(c.q), c.view(c.k), c.view(c.k), {c.out.data(), {1, c.len, kHeads, kDim}},
              c.options, c.rows(c.lse), context);
  }
}
BENCHMARK(BM_Forward)->Arg(4096)->UseRealTime();

void BM_EntropyAndMax(benchmark::State& bench) {
  Case c(bench.range(0));
  ExecutionContext context(1);
  AttentionStatistics wanted;
  wanted.entropy = c.rows(c.entropy);
  wanted.max = c.rows(c.max);
  for (auto _ : bench) c.run(wanted, context);
}
BENCHMARK(BM_EntropyAndMax)->Arg(4096)->UseRealTime();

void BM_TopSixteen(benchmark::State& bench) {
  Case c(bench.range(0));
  ExecutionContext context(1);
  AttentionStatistics wanted;
  wanted.top_k = 16;
  wanted.top_index = c.index;
  wanted.top_weight = c.weight;
  for (auto _ : bench) c.run(wanted, context);
}
BENCHMARK(BM_TopSixteen)->Arg(4096)->UseRealTime();

void BM_ColumnMass(benchmark::State& bench) {
  Case c(bench.range(0));
  ExecutionContext context(1);
  AttentionStatistics wanted;
  wanted.column_mass = c.rows(c.mass);
  for (auto _ : bench) c.run(wanted, context);
}
BENCHMARK(BM_ColumnMass)->Arg(4096)->UseRealTime();

}  // namespace
}  // namespace raptly
