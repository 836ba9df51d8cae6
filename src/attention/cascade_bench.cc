// Sequences with a shared prefix: read once and stacked, or read by each sequence.
#include <benchmark/benchmark.h>

#include <vector>

#include "raptly/attention.h"
#include "raptly/cascade.h"

namespace raptly {
namespace {

// Decoding of `batch` samples of one prompt: 8192 keys shared, 64 of their own, 32/8 heads of 128.
struct Samples {
  static constexpr std::int64_t kPrefix = 8192, kOwn = 64, kHeads = 32, kKvHeads = 8, kDim = 128;
  std::int64_t batch;
  std::vector<float> q, prefix, own, out;

  explicit Samples(std::int64_t n)
      : batch(n),
        q(size(kHeads)),
        prefix(static_cast<std::size_t>(kPrefix * kKvHeads * kDim), 0.25f),
        own(size(kOwn * kKvHeads), 0.5f),
        out(size(kHeads)) {
    for (std::size_t i = 0; i < q.size(); ++i) q[i] = static_cast<float>(i % 13) / 13;
  }
  std::size_t size(std::int64_t rows) const {
    return static_cast<std::size_t>(batch * rows * kDim);
  }
  TensorView queries() const { return {q.data(), {batch, 1, kHeads, kDim}}; }
  MutableTensorView outs() { return {out.data(), {batch, 1, kHeads, kDim}}; }
};

void BM_Cascade(benchmark::State& bench) {
  Samples s(bench.range(0));
  ExecutionContext context(static_cast<int>(bench.range(1)));
  const TensorView prefix(s.prefix.data(), {Samples::kPrefix, Samples::kKvHeads, Samples::kDim});
  const TensorView own(s.own.data(), {s.batch, Samples::kOwn, Samples::kKvHeads, Samples::kDim});
  for (auto _ : bench) {
    cascade_attention(s.queries(), {{prefix, prefix}, own, own}, s.outs(), {}, {}, context);
  }
}
BENCHMARK(BM_Cascade)->ArgsProduct({{4, 16}, {1}})->UseRealTime();

// The same, each sequence reading the prefix for itself: the batch's keys are one view of it.
void BM_EachAlone(benchmark::State& bench) {
  Samples s(bench.range(0));
  ExecutionContext context(static_cast<int>(bench.range(1)));
  const std::int64_t sizes[] = {s.batch, Samples::kPrefix, Samples::kKvHeads, Samples::kDim};
  const std::int64_t strides[] = {0, Samples::kKvHeads * Samples::kDim, Samples::kDim, 1};
  const TensorView keys(s.prefix.data(), DType::kF32, TensorShape(sizes, strides));
  for (auto _ : bench) attention(s.queries(), keys, keys, s.outs(), {}, {}, context);
}
BENCHMARK(BM_EachAlone)->ArgsProduct({{4, 16}, {1}})->UseRealTime();

}  // namespace
}  // namespace raptly
