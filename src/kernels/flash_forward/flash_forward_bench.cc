// Microbenchmarks of the forward kernels, one thread: best time of a head, as GFLOP/s, GB/s of keys
// and values, and shares of the level's FMA peak and of the read bandwidth of a buffer as large,
// both measured beside the case. Heads are taken in turn, so that nothing lies in L1 or L2.
// Filter by name: prefill/avx512/f32/causal/d128/s4096,
// decode/avx512/bf16/d128/kv8192/hsd/group4/q1.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <string>

#include "kernels/flash_forward/forward_test_case.h"
#include "kernels/probe/probe.h"

namespace raptly {
namespace {

using testing::RandomValues;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct BenchCase {
  Isa isa = Isa::kScalar;
  DType dtype = DType::kF32;
  int head_dim = 64;
  std::int64_t q_len = 1, kv_len = 1;
  int n_heads = 16, n_kv_heads = 16;
  std::string mask = "all";
  std::int64_t page_size = 0;  // of shuffled pages; 0: one run
  bool token_major = true;     // else [head, token, dim]
};

// Tensors on huge pages, [token, head, dim] or [head, token, dim].
struct BenchTensor {
  AlignedBytes memory;
  std::int64_t token = 0, head = 0;

  BenchTensor(const BenchCase& c, std::int64_t tokens, int heads, DType dtype)
      : memory(static_cast<std::size_t>(tokens * heads * c.head_dim) * dtype_size(dtype)) {
    token = c.token_major ? std::int64_t{heads} * c.head_dim : c.head_dim;
    head = c.token_major ? c.head_dim : tokens * c.head_dim;
    RandomValues random(1);
    float values[4096];
    for (float& x : values) x = random.normal();
    const std::int64_t n = tokens * heads * c.head_dim;
    for (std::int64_t i = 0; i < n; ++i) {
      testing::put(memory.data(), dtype, i,
                   values[(static_cast<std::uint64_t>(i) * 2654435761u >> 7) % 4096]);
    }
  }
};

class Bench {
 public:
  explicit Bench(const BenchCase& c)
      : c_(c),
        q_(c, c.q_len, c.n_heads, DType::kF32),
        out_(c, c.q_len, c.n_heads, DType::kF32),
        k_(c, c.kv_len, c.n_kv_heads, c.dtype),
        v_(c, c.kv_len, c.n_kv_heads, c.dtype),
        decode_(c.q_len * group() <= kMaxDecodeRows),
        plan_(Mask::parse(c.mask), {0, 0, c.q_len, c.kv_len, c.kv_len - c.q_len},
              decode_ ? static_cast<int>(c.q_len) : flash_forward_tile_queries(group(), c.isa)),
        lse_(static_cast<std::size_t>(c.q_len * c.n_heads)) {
    make_runs();
    FlashForwardSize size;
    tiles_per_item_ = std::max<std::int64_t>(1, 2048 / (plan_.tiles()[0].n_queries * group()));
    size.max_tiles = tiles_per_item_;
    size.tile_queries = plan_.tiles()[0].n_queries;
    size.group = group();
    size.kv_len = c.kv_len;
    size.head_dim = size.v_dim = c.head_dim;
    workspace_ = AlignedBytes(std::max(flash_forward_workspace_bytes(size, c.isa),
                                       flash_decode_workspace_bytes(size, c.isa)));
    state_floats_ =
        static_cast<std::int64_t>(flash_decode_state_floats(kMaxDecodeRows, c.head_dim));
    n_splits_ = (c.kv_len + kSplitKeys - 1) / kSplitKeys;
    states_ = AlignedArray<float>(static_cast<std::size_t>(state_floats_ * n_splits_));
  }

  void run(int kv_head) {
    FlashForwardItem item;
    item.first_head = kv_head * group();
    item.kv_head = kv_head;
    item.group = group();
    item.head_dim = item.v_dim = c_.head_dim;
    item.scale = 1.0f / std::sqrt(static_cast<float>(c_.head_dim));
    item.q = q_.memory.data();
    item.q_token_stride = q_.token, item.q_head_stride = q_.head;
    item.out = out_.memory.data();
    item.out_token_stride = out_.token, item.out_head_stride = out_.head;
    item.lse = lse_.data();
    item.lse_head_stride = c_.q_len;
    item.kv = &view_;
    const auto tiles = plan_.tiles();
    if (decode_) {
      item.tiles = tiles;
      for (std::int64_t split = 0; split < n_splits_; ++split) {
        flash_decode_split(item, split, states_.data() + split * state_floats_, workspace_.data(),
                           c_.isa);
      }
      flash_decode_merge(item, {states_.data(), n_splits_, state_floats_}, workspace_.data(),
                         c_.isa);
      return;
    }
    const auto step = static_cast<std::size_t>(tiles_per_item_);
    for (std::size_t at = 0; at < tiles.size(); at += step) {
      item.tiles = tiles.subspan(at, std::min(step, tiles.size() - at));
      flash_forward(item, workspace_.data(), c_.isa);
    }
  }

  // For one key head.
  double flops() const {
    return 4.0 * static_cast<double>(plan_.visible_pairs()) * c_.head_dim * group();
  }
  double bytes() const {
    return 2.0 * static_cast<double>(c_.kv_len) * c_.head_dim *
           static_cast<double>(dtype_size(c_.dtype));
  }
  double read_gbps() const {
    double best = 1e30;
    for (int i = 0; i < 4; ++i) {
      const double start = now();
      benchmark::DoNotOptimize(read_memory(k_.memory.data(), k_.memory.size(), c_.isa));
      benchmark::DoNotOptimize(read_memory(v_.memory.data(), v_.memory.size(), c_.isa));
      best = std::min(best, now() - start);
    }
    return static_cast<double>(k_.memory.size() + v_.memory.size()) / best / 1e9;
  }

 private:
  int group() const { return c_.n_heads / c_.n_kv_heads; }

  void make_runs() {
    const std::int64_t page = c_.page_size == 0 ? c_.kv_len : c_.page_size;
    const std::int64_t n = c_.kv_len / page;
    std::vector<std::int64_t> slots(static_cast<std::size_t>(n));
    std::iota(slots.begin(), slots.end(), 0);
    RandomValues random(2);
    for (std::size_t i = slots.size(); i > 1; --i) {
      std::swap(slots[i - 1],
                slots[static_cast<std::size_t>(random.below(static_cast<std::int64_t>(i)))]);
    }
    for (std::int64_t i = 0; i < n; ++i) {
      const auto at =
          static_cast<std::size_t>(slots[static_cast<std::size_t>(i)] * page * k_.token) *
          dtype_size(c_.dtype);
      runs_.push_back(
          {k_.memory.data() + at, v_.memory.data() + at, nullptr, nullptr, page, i * page});
    }
    view_ = {runs_, c_.dtype, k_.token, k_.head, 1, v_.token, v_.head, 1, c_.kv_len};
  }

  BenchCase c_;
  BenchTensor q_, out_, k_, v_;
  bool decode_;
  TilePlan plan_;
  std::vector<float> lse_;
  std::vector<KvRun> runs_;
  KvView view_;
  AlignedBytes workspace_;
  AlignedArray<float> states_;
  std::int64_t tiles_per_item_ = 1, state_floats_ = 0, n_splits_ = 0;
};

void run_case(benchmark::State& state, const BenchCase& c) {
  Bench bench(c);
  double best = 1e30, peak = fma_peak_gflops(c.isa), read = bench.read_gbps();
  int turn = 0;
  const bool all_heads = c.q_len <= kMaxDecodeRows;  // short: time all heads together
  bench.run(0);
  for (auto _ : state) {
    const double start = now();
    if (all_heads) {
      for (int h = 0; h < c.n_kv_heads; ++h) bench.run(h);
    } else {
      bench.run(turn++ % c.n_kv_heads);
    }
    const double seconds = (now() - start) / (all_heads ? c.n_kv_heads : 1);
    state.SetIterationTime(seconds);
    best = std::min(best, seconds);
  }
  peak = std::max(peak, fma_peak_gflops(c.isa));
  read = std::max(read, bench.read_gbps());
  const double gflops = bench.flops() / best / 1e9, gbps = bench.bytes() / best / 1e9;
  state.counters["GFLOPs"] = gflops;
  state.counters["of_peak"] = gflops / peak;
  state.counters["GBps"] = gbps;
  state.counters["of_read"] = gbps / read;
  // DESIGN: time <= max(bytes / bandwidth, flops / peak) / r
  state.counters["r"] = std::max(bench.bytes() / read, bench.flops() / peak) / 1e9 / best;
}

void add(const std::string& name, const BenchCase& c, int iterations) {
  benchmark::RegisterBenchmark(name.c_str(), [c](benchmark::State& state) { run_case(state, c); })
      ->UseManualTime()
      ->Unit(benchmark::kMicrosecond)
      ->Iterations(iterations);
}

void add_prefill(Isa isa, DType dtype, int head_dim, std::int64_t length, const std::string& mask) {
  for (bool token_major : {true, false}) {
    BenchCase c;
    c.isa = isa;
    c.dtype = dtype;
    c.head_dim = head_dim;
    c.q_len = c.kv_len = length;
    c.mask = mask;
    c.token_major = token_major;
    if (head_dim > 256) c.n_heads = c.n_kv_heads = 4;
    const std::string name = std::string("prefill/") + isa_name(isa) + "/" + dtype_name(dtype) +
                             "/" + (mask == "all" ? "full" : mask) + "/d" +
                             std::to_string(head_dim) + "/s" + std::to_string(length) +
                             (token_major ? "/shd" : "/hsd");
    add(name, c, length > 4096 ? 6 : 24);
  }
}

struct DecodeCase {
  std::int64_t kv_len = 8192;
  int head_dim = 128, group = 1;
  std::int64_t q_len = 1, page_size = 0;
  bool token_major = false;
};

void add_decode(Isa isa, DType dtype, const DecodeCase& d) {
  BenchCase c;
  c.isa = isa;
  c.dtype = dtype;
  c.head_dim = d.head_dim;
  c.q_len = d.q_len;
  c.kv_len = d.kv_len;
  c.n_kv_heads = d.kv_len < 1024 ? 1 : 8;
  c.n_heads = c.n_kv_heads * d.group;
  c.page_size = d.page_size;
  c.token_major = d.token_major || d.page_size != 0;
  c.mask = d.q_len > 1 ? "causal" : "all";
  const std::string layout = d.page_size != 0 ? "page" + std::to_string(d.page_size)
                             : d.token_major  ? "shd"
                                              : "hsd";
  add(std::string("decode/") + isa_name(isa) + "/" + dtype_name(dtype) + "/d" +
          std::to_string(d.head_dim) + "/kv" + std::to_string(d.kv_len) + "/" + layout + "/group" +
          std::to_string(d.group) + "/q" + std::to_string(d.q_len),
      c, d.kv_len > 16384 ? 6 : 20);
}

void add_decodes(Isa isa, DType dtype) {
  for (const std::int64_t kv_len : {8192, 65536}) {
    for (const int head_dim : {64, 128}) {
      for (const bool token_major : {false, true}) {
        for (const int group : {1, 3, 4, 7, 8, 16}) {
          add_decode(isa, dtype, {kv_len, head_dim, group, 1, 0, token_major});
        }
      }
    }
  }
  for (const std::int64_t q_len : {2, 4, 8, 15}) add_decode(isa, dtype, {8192, 128, 1, q_len});
  for (const std::int64_t q_len : {2, 3}) add_decode(isa, dtype, {8192, 128, 4, q_len});
  for (const int group : {1, 4}) add_decode(isa, dtype, {8192, 128, group, 1, 16});
  for (const int group : {1, 4, 8}) add_decode(isa, dtype, {512, 128, group});  // in L2
}

const bool registered = [] {
  for (Isa isa : supported_isas()) {
    if (isa == Isa::kScalar || isa > Isa::kAvx512) continue;
    for (DType dtype : {DType::kF32, DType::kBf16, DType::kF16}) {
      for (int head_dim : {64, 128, 80, 96, 256, 576}) {
        for (std::int64_t length : {2048, 4096, 8192}) {
          add_prefill(isa, dtype, head_dim, length, "all");
          add_prefill(isa, dtype, head_dim, length, "causal");
        }
      }
      add_decodes(isa, dtype);
    }
  }
  return true;
}();

}  // namespace
}  // namespace raptly
