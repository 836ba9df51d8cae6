// Longformer at 16384 tokens, a window of 512, global tokens spread over the sequence: with second
// projections, without (attention() gathers the global rows all the same), and by a plan, which
// leaves each global row in its tile of 48 queries.
#include <benchmark/benchmark.h>

#include <vector>

#include "raptly/attention.h"
#include "raptly/plan.h"

namespace raptly {
namespace {

constexpr std::int64_t kLen = 16384, kHeads = 4, kDim = 64;

void run(benchmark::State& bench, bool projections) {
  std::vector<float> q(static_cast<std::size_t>(kLen * kHeads * kDim)), out(q.size());
  for (std::size_t i = 0; i < q.size(); ++i) q[i] = static_cast<float>(i * 7919 % 1009) / 500 - 1;
  const TensorView view(q.data(), {1, kLen, kHeads, kDim});
  std::vector<std::int64_t> globals;
  for (std::int64_t i = 0; i < bench.range(0); ++i) globals.push_back(i * kLen / bench.range(0));
  AttentionOptions options;
  options.mask = mask::longformer(512, globals);
  if (projections) options.q_global = options.k_global = options.v_global = view;
  ExecutionContext context(1);
  for (auto _ : bench) {
    attention(view, view, view, {out.data(), {1, kLen, kHeads, kDim}}, options, {}, context);
  }
}

void BM_LongformerPlan(benchmark::State& bench) {
  std::vector<float> q(static_cast<std::size_t>(kLen * kHeads * kDim), 0.5f), out(q.size());
  const TensorView view(q.data(), {1, kLen, kHeads, kDim});
  std::vector<std::int64_t> globals;
  for (std::int64_t i = 0; i < bench.range(0); ++i) globals.push_back(i * kLen / bench.range(0));
  AttentionOptions options;
  options.mask = mask::longformer(512, globals);
  ExecutionContext context(1);
  Plan plan({1, kLen, kLen, kHeads, kHeads, kDim, kDim}, options, context);
  for (auto _ : bench) plan.run(view, view, view, {out.data(), {1, kLen, kHeads, kDim}});
}
BENCHMARK(BM_LongformerPlan)->Arg(1)->Arg(64)->UseRealTime();

void BM_Longformer(benchmark::State& bench) { run(bench, false); }
BENCHMARK(BM_Longformer)->Arg(1)->Arg(64)->UseRealTime();
void BM_LongformerProjections(benchmark::State& bench) { run(bench, true); }
BENCHMARK(BM_LongformerProjections)->Arg(1)->Arg(64)->UseRealTime();

}  // namespace
}  // namespace raptly
