#include "cli/bench_attention.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <functional>
#include <nlohmann/json.hpp>
#include <ostream>

#include "attention/flash1.h"
#include "attention/plan.h"
#include "attention/standard.h"
#include "base/aligned.h"
#include "base/thread_pool.h"
#include "cli/bench_backward.h"
#include "cli/bench_cases.h"
#include "cli/bench_measure.h"
#include "cli/bench_paged.h"
#include "cli/bench_report.h"
#include "cli/bench_tensors.h"
#include "kernels/flash_forward/flash_forward.h"

namespace raptly {
namespace {

// The bias of a case, with the memory of a dense one.
struct BenchBias {
  AlignedArray<float> numbers;
  Bias bias;

  explicit BenchBias(const BenchCase& c) {
    if (c.bias == "alibi") bias = bias::alibi(bias::alibi_slopes(c.n_heads));
    if (c.bias != "relative" && c.bias != "dense") return;
    const bool dense = c.bias == "dense";
    numbers =
        AlignedArray<float>(static_cast<std::size_t>(dense ? c.q_len * c.kv_len : c.n_heads * 257));
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      numbers.data()[i] = static_cast<float>(i % 97) / 97.0f;
    }
    bias = dense ? bias::dense({numbers.data(), {1, 1, c.q_len, c.kv_len}})
                 : bias::relative({numbers.data(), {c.n_heads, 257}});
  }
};

// The baselines, on f32 copies where the case stores 16 bits. Standard attention has no masks but
// causal; for others it computes all scores, as materialising does, without the cost of masking.
void run_baselines(const BenchCase& c, ExecutionContext& context, double seconds,
                   BenchAttentionResult& result) {
  const double scores = 4.0 * static_cast<double>(c.q_len) * static_cast<double>(c.kv_len);
  const bool fits = scores <= 1.1e9;
  if (!fits && !c.flash1) return;
  const BenchTensors data(c, true);
  const bool causal = c.mask == "causal";
  if (fits) {
    StandardAttention standard(c.q_len, c.kv_len, c.head_dim, context);
    const BenchBias bias(c);
    result.standard_ms =
        1e3 * best_time(seconds, [&] {
          standard.run(data.q(), data.k(), data.v(), data.out(), {causal, bias.bias, {}});
        });
    result.standard_mb = static_cast<double>(standard.nbytes()) / 1e6;
  }
  if (c.flash1) {
    Flash1Attention flash1(c.q_len, c.kv_len, c.head_dim, context);
    result.flash1_ms = 1e3 * best_time(seconds, [&] {
                         flash1.run(data.q(), data.k(), data.v(), data.out(), causal);
                       });
  }
}

void describe_plan(const BenchCase& c, const AttentionOptions& options, ExecutionContext& context,
                   BenchAttentionResult& result) {
  const std::vector<SequenceGeometry> geometry(static_cast<std::size_t>(c.batch),
                                               {c.q_len, c.kv_len, c.kv_len - c.q_len});
  const AttentionPlan plan(
      {c.n_heads, c.n_kv_heads, c.head_dim, c.head_dim, c.q_dtype, c.kv_dtype, DType::kF32},
      geometry, options, context);
  const PlanReport& report = plan.report();
  const double seconds = result.milliseconds / 1e3;
  const double pairs = static_cast<double>(c.batch * c.n_heads) * static_cast<double>(c.q_len) *
                       static_cast<double>(c.kv_len);
  result.workspace_mb = static_cast<double>(report.workspace_bytes) / 1e6;
  result.kernel = report.kernel;
  result.density = report.visible_pairs / pairs;
  result.gflops = report.flops / seconds / 1e9;
  result.gbps = report.bytes / seconds / 1e9;
  result.ratio = result.gflops / result.peak_gflops;
  if (c.decode()) {
    const double by_bytes = report.bytes / result.read_gbps,
                 by_flops = report.flops / result.peak_gflops;
    result.ratio = std::max(by_bytes, by_flops) / (seconds * 1e9);
  }
}

// The same of a backward case, whose numbers follow from those of its forward pass: five products
// for two.
void describe_backward(const BenchCase& c, const AttentionOptions& options,
                       const BenchBackward& backward, ExecutionContext& context,
                       BenchAttentionResult& result) {
  describe_plan(c, options, context, result);
  result.kernel = std::string("backward ") + dtype_name(c.kv_dtype) + " " +
                  isa_name(std::min(context.isa(), Isa::kAvx512));
  result.workspace_mb = 0;
  result.gflops *= 2.5;
  result.gbps = backward.nbytes() / result.milliseconds / 1e6;
  result.ratio = result.gflops / result.peak_gflops;
}

BenchAttentionResult run_backward_case(const BenchCase& c, int threads,
                                       const BenchAttentionOptions& bench) {
  const BenchTensors data(c);
  AttentionOptions options;
  options.mask = Mask::parse(c.mask);
  const BenchBias bias(c);
  options.bias = bias.bias;
  BenchAttentionResult result;
  result.shape = c;
  result.threads = threads;
  if (!bench.alone) {
    result.extra_mb = extra_peak_mb([&] {  // of both passes, and all that they write
      ExecutionContext context(threads);
      BenchBackward both(c, data, options);
      both.run_forward(context);
      both.run_backward(context);
    });
  }
  ExecutionContext context(threads);
  BenchBackward backward(c, data, options);
  backward.run_forward(context);
  const auto measure_machine = [&] {
    result.peak_gflops = std::max(result.peak_gflops, peak_gflops(context, false));
  };
  measure_machine();
  result.milliseconds = 1e3 * best_time(bench.seconds, [&] { backward.run_backward(context); });
  measure_machine();
  describe_backward(c, options, backward, context, result);
  return result;
}

// Where each run of the case is called and measured.
BenchAttentionResult run_case(const BenchCase& c, int threads, const BenchAttentionOptions& bench) {
  const BenchTensors data(c);
  AttentionOptions options;
  options.mask = Mask::parse(c.mask);
  const BenchBias bias(c);
  options.bias = bias.bias;
  std::optional<BenchPagedCache> paged;
  if (c.page_size > 0) paged.emplace(c, options);
  const auto attend = [&](ExecutionContext& context) {
    if (paged) return paged->run(data, context);
    attention(data.q(), data.k(), data.v(), data.out(), options, {}, context);
  };
  BenchAttentionResult result;
  result.shape = c;
  result.threads = threads;
  if (!bench.alone) {
    result.extra_mb = extra_peak_mb([&] {
      ExecutionContext context(threads);
      attend(context);
    });
  }
  ExecutionContext context(threads);
  const bool bf16_dots =
      flash_forward_level(context.isa(), c.q_dtype, c.kv_dtype) == Isa::kAvx512Bf16;
  const auto measure_machine = [&] {
    result.peak_gflops = std::max(result.peak_gflops, peak_gflops(context, bf16_dots));
    if (!c.decode()) return;
    result.read_gbps = std::max(result.read_gbps, read_bandwidth(data.k_bytes(), data.v_bytes(),
                                                                 data.kv_nbytes(), context));
  };
  measure_machine();
  result.milliseconds = 1e3 * best_time(bench.seconds, [&] { attend(context); });
  measure_machine();
  if (!bench.alone) run_baselines(c, context, bench.seconds / 2, result);
  describe_plan(c, options, context, result);
  return result;
}

std::vector<BenchCase> cases_of(const BenchAttentionOptions& options) {
  if (options.custom) return {*options.custom};
  std::vector<BenchCase> part_of_name;
  for (BenchCase& c : all_bench_cases()) {
    if (c.name == options.filter) return {c};
    if (c.name.find(options.filter) != std::string::npos) part_of_name.push_back(std::move(c));
  }
  return part_of_name;
}

void for_each_run(const BenchAttentionOptions& options,
                  const std::function<void(const BenchAttentionResult&)>& done) {
  std::vector<int> threads = options.threads;
  if (threads.empty()) {
    threads = {1};
    if (default_thread_count() > 1) threads.push_back(default_thread_count());
  }
  for (const BenchCase& c : cases_of(options)) {
    for (const int n : threads) {
      done(c.backward ? run_backward_case(c, n, options) : run_case(c, n, options));
    }
  }
}

}  // namespace

std::vector<std::string> bench_attention_cases() {
  std::vector<std::string> names;
  for (const BenchCase& c : all_bench_cases()) names.push_back(c.name);
  return names;
}

std::vector<BenchAttentionResult> bench_attention(const BenchAttentionOptions& options) {
  std::vector<BenchAttentionResult> results;
  for_each_run(options, [&](const BenchAttentionResult& r) { results.push_back(r); });
  return results;
}

int bench_attention_command(const BenchAttentionOptions& options, std::ostream& out) {
  auto list = nlohmann::ordered_json::array();
  bool any = false;
  for_each_run(options, [&](const BenchAttentionResult& r) {
    any = true;
    if (options.json) {
      list.push_back(to_json(r));
    } else if (options.bars && r.standard_ms > 0) {
      print_bars(r, out);
    } else {
      print_row(r, out);
    }
  });
  if (!any) return 2;
  if (options.json) out << list.dump(1) << '\n';
  return 0;
}

std::vector<ProbeResult> probe_machine(double megabytes) {
  const AlignedBytes buffer(static_cast<std::size_t>(megabytes * 1e6));
  std::memset(buffer.data(), 1, buffer.size());
  std::vector<ProbeResult> results;
  std::vector<int> threads = {1};
  if (default_thread_count() > 1) threads.push_back(default_thread_count());
  for (const int n : threads) {
    ExecutionContext context(n);
    results.push_back({n, peak_gflops(context), peak_gflops(context, true),
                       read_bandwidth(buffer.data(), buffer.data() + buffer.size() / 2,
                                      buffer.size() / 2, context)});
  }
  return results;
}

int probe_command(bool json, std::ostream& out) {
  constexpr double kMegabytes = 512;
  const std::vector<ProbeResult> results = probe_machine(kMegabytes);
  if (json) {
    auto list = nlohmann::ordered_json::array();
    for (const ProbeResult& r : results) {
      list.push_back({{"threads", r.threads},
                      {"peak_gflops", r.peak_gflops},
                      {"bf16_dot_gflops", r.bf16_dot_gflops},
                      {"read_gbps", r.read_gbps}});
    }
    out << nlohmann::ordered_json{{"isa", isa_name(best_isa())}, {"probe", list}}.dump() << '\n';
    return 0;
  }
  out << "levels    ";
  for (const Isa isa : supported_isas()) out << isa_name(isa) << ' ';
  out << '\n';
  for (const ProbeResult& r : results) {
    char text[160];
    std::snprintf(text, sizeof(text), "%d %-8s f32 FMA %.0f GFLOP/s, ", r.threads,
                  r.threads == 1 ? "thread" : "threads", r.peak_gflops);
    out << text;
    if (r.bf16_dot_gflops > 0) {
      std::snprintf(text, sizeof(text), "bf16 dot products %.0f GFLOP/s, ", r.bf16_dot_gflops);
      out << text;
    }
    std::snprintf(text, sizeof(text), "reads %.1f GB/s (512 MB)\n", r.read_gbps);
    out << text;
  }
  return 0;
}

}  // namespace raptly
