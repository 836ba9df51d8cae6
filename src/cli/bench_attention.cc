#include "cli/bench_attention.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>
#include <nlohmann/json.hpp>
#include <ostream>

#include "attention/plan.h"
#include "attention/standard.h"
#include "base/aligned.h"
#include "base/convert.h"
#include "base/thread_pool.h"
#include "cli/bench_cases.h"
#include "kernels/flash_forward/flash_forward.h"
#include "kernels/probe/probe.h"

namespace raptly {
namespace {

using Clock = std::chrono::steady_clock;

// Best of the runs that fit `seconds`, at least two; in seconds.
double best_time(double seconds, const std::function<void()>& run) {
  run();
  double best = 1e30, total = 0;
  for (int i = 0; i < 2 || (total < seconds && i < 2000); ++i) {
    const auto start = Clock::now();
    run();
    const double t = std::chrono::duration<double>(Clock::now() - start).count();
    best = std::min(best, t);
    total += t;
  }
  return best;
}

// Of f32 FMA, or of vdpbf16ps at its level.
double peak_of(ExecutionContext& context, bool bf16_dots = false) {
  std::vector<double> each(static_cast<std::size_t>(context.threads()));
  context.pool().parallel_for(context.threads(), [&](std::int64_t item, int) {
    each[static_cast<std::size_t>(item)] =
        bf16_dots ? bf16_dot_peak_gflops(context.isa()) : fma_peak_gflops(context.isa());
  });
  double total = 0;
  for (const double gflops : each) total += gflops;
  return total;
}

// Of two buffers of n bytes, read one after the other: together as large as the keys and values.
double read_bandwidth(const std::byte* a, const std::byte* b, std::size_t n,
                      ExecutionContext& context) {
  constexpr std::size_t kPiece = std::size_t{1} << 18;
  const auto half = static_cast<std::int64_t>(n / kPiece), pieces = 2 * half;
  volatile float sink = 0;
  const double t = best_time(0.2, [&] {
    context.pool().parallel_for(pieces, [&](std::int64_t i, int) {
      const std::byte* from = i < half ? a : b;
      sink = read_memory(from + static_cast<std::size_t>(i % half) * kPiece, kPiece, context.isa());
    });
  });
  return static_cast<double>(pieces) * static_cast<double>(kPiece) / t / 1e9;
}

// Tensors of a case, filled with values like N(0, 1).
struct CaseData {
  AlignedBytes q, k, v, out;
  DType q_dtype;
  TensorShape q_shape, kv_shape;

  explicit CaseData(const BenchCase& c) {
    const auto elements = [&](std::int64_t n, std::int64_t heads) {
      return static_cast<std::size_t>(c.batch * n * heads * c.head_dim);
    };
    const auto shape = [&](std::int64_t n, std::int64_t heads) {
      const std::int64_t sizes[] = {c.batch, n, heads, c.head_dim};
      const std::int64_t d = c.head_dim;
      const std::int64_t token_major[] = {n * heads * d, heads * d, d, 1};
      const std::int64_t head_major[] = {n * heads * d, d, n * d, 1};
      return TensorShape(sizes, c.head_major ? head_major : token_major);
    };
    q_dtype = c.q_dtype;
    q = AlignedBytes(elements(c.q_len, c.n_heads) * dtype_size(c.q_dtype));
    out = AlignedBytes(elements(c.q_len, c.n_heads) * 4);
    k = AlignedBytes(elements(c.kv_len, c.n_kv_heads) * dtype_size(c.kv_dtype));
    v = AlignedBytes(k.size());
    q_shape = shape(c.q_len, c.n_heads);
    kv_shape = shape(c.kv_len, c.n_kv_heads);
    fill(q.data(), elements(c.q_len, c.n_heads), c.q_dtype);
    fill(k.data(), elements(c.kv_len, c.n_kv_heads), c.kv_dtype);
    fill(v.data(), elements(c.kv_len, c.n_kv_heads), c.kv_dtype);
    std::memset(out.data(), 0, out.size());
  }
  TensorView queries() const { return {q.data(), q_dtype, q_shape}; }
  TensorView keys(DType t) const { return {k.data(), t, kv_shape}; }
  TensorView values(DType t) const { return {v.data(), t, kv_shape}; }
  MutableTensorView result() const { return {out.data(), DType::kF32, q_shape}; }

 private:
  static void fill(std::byte* to, std::size_t n, DType dtype) {
    std::uint64_t state = 88172645463325252u;
    for (std::size_t i = 0; i < n; ++i) {
      state ^= state << 13;
      state ^= state >> 7;
      state ^= state << 17;
      const float x =
          static_cast<float>((state & 0xffff) + (state >> 16 & 0xffff) + (state >> 32 & 0xffff)) /
              32768.0f -
          3.0f;
      if (dtype == DType::kF32) {
        std::memcpy(to + i * 4, &x, 4);
      } else {
        const std::uint16_t bits = dtype == DType::kF16 ? to_f16(x).bits : to_bf16(x).bits;
        std::memcpy(to + i * 2, &bits, 2);
      }
    }
  }
};

void run_standard(const BenchCase& c, const CaseData& data, ExecutionContext& context,
                  double seconds, BenchAttentionResult& result) {
  const double bytes = 4.0 * static_cast<double>(c.q_len) * static_cast<double>(c.kv_len);
  if (c.kv_dtype != DType::kF32 || bytes > 1.1e9) return;
  StandardAttention standard(c.q_len, c.kv_len, c.head_dim, context);
  // Other masks: all scores, as materialising does, but without the cost of masking.
  const bool causal = std::strcmp(c.mask, "causal") == 0;
  result.standard_ms = 1e3 * best_time(seconds, [&] {
                         standard.run(data.queries(), data.keys(DType::kF32),
                                      data.values(DType::kF32), data.result(), causal);
                       });
  result.standard_mb = static_cast<double>(standard.nbytes()) / 1e6;
}

BenchAttentionResult run_case(const BenchCase& c, int threads, double seconds) {
  ExecutionContext context(threads);
  const CaseData data(c);
  AttentionOptions options;
  options.mask = Mask::parse(c.mask);
  BenchAttentionResult result;
  result.shape = c;
  result.threads = threads;
  const bool bf16_dots =
      flash_forward_level(context.isa(), c.q_dtype, c.kv_dtype) == Isa::kAvx512Bf16;
  result.peak_gflops = peak_of(context, bf16_dots);
  if (c.decode())
    result.read_gbps = read_bandwidth(data.k.data(), data.v.data(), data.k.size(), context);
  const double t = best_time(seconds, [&] {
    attention(data.queries(), data.keys(c.kv_dtype), data.values(c.kv_dtype), data.result(),
              options, {}, context);
  });
  run_standard(c, data, context, seconds / 2, result);
  result.peak_gflops = std::max(result.peak_gflops, peak_of(context, bf16_dots));
  const std::vector<SequenceGeometry> geometry(static_cast<std::size_t>(c.batch),
                                               {c.q_len, c.kv_len, c.kv_len - c.q_len});
  const AttentionPlan plan(
      {c.n_heads, c.n_kv_heads, c.head_dim, c.head_dim, c.q_dtype, c.kv_dtype, DType::kF32},
      geometry, options, context);
  result.workspace_mb = static_cast<double>(plan.report().workspace_bytes) / 1e6;
  result.milliseconds = t * 1e3;
  result.kernel = plan.report().kernel;
  result.gflops = plan.report().flops / t / 1e9;
  result.gbps = plan.report().bytes / t / 1e9;
  result.ratio = result.gflops / result.peak_gflops;
  if (c.decode()) {
    result.read_gbps = std::max(
        result.read_gbps, read_bandwidth(data.k.data(), data.v.data(), data.k.size(), context));
    const double by_bytes = plan.report().bytes / result.read_gbps,
                 by_flops = plan.report().flops / result.peak_gflops;
    result.ratio = std::max(by_bytes, by_flops) / (t * 1e9);
  }
  return result;
}

void print_row(const BenchAttentionResult& r, std::ostream& out) {
  char line[200];
  std::snprintf(line, sizeof(line), "%-28s %2d thr %10.3f ms %8.1f GFLOP/s of %6.0f %7.1f GB/s",
                r.shape.name.c_str(), r.threads, r.milliseconds, r.gflops, r.peak_gflops, r.gbps);
  out << line;
  if (r.read_gbps > 0) {
    std::snprintf(line, sizeof(line), " of %.1f", r.read_gbps);
    out << line;
  }
  std::snprintf(line, sizeof(line), "  %5.1f %%", 100 * r.ratio);
  out << line;
  if (r.standard_ms > 0) {
    std::snprintf(line, sizeof(line), "  standard %.3f ms (%.2fx)", r.standard_ms,
                  r.standard_ms / r.milliseconds);
    out << line;
  }
  out << '\n' << std::flush;
}

void print_bars(const BenchAttentionResult& r, std::ostream& out) {
  const auto bar = [&](const char* name, double value, double largest, const char* unit) {
    char text[160];
    const int n = std::max(1, static_cast<int>(40 * value / largest + 0.5));
    std::snprintf(text, sizeof(text), "  %-9s %-40s %.1f %s\n", name,
                  std::string(static_cast<std::size_t>(n), '#').c_str(), value, unit);
    out << text;
  };
  out << r.shape.name << ", " << r.threads << (r.threads == 1 ? " thread" : " threads") << '\n';
  bar("raptly", r.milliseconds, std::max(r.milliseconds, r.standard_ms), "ms");
  bar("standard", r.standard_ms, std::max(r.milliseconds, r.standard_ms), "ms");
  bar("raptly", r.workspace_mb, std::max(r.workspace_mb, r.standard_mb), "MB extra");
  bar("standard", r.standard_mb, std::max(r.workspace_mb, r.standard_mb), "MB extra");
  char text[100];
  std::snprintf(text, sizeof(text), "  %.1f GFLOP/s, %.0f %% of the FMA peak of %.0f\n", r.gflops,
                100 * r.ratio, r.peak_gflops);
  out << text << std::flush;
}

nlohmann::ordered_json to_json(const BenchAttentionResult& r) {
  nlohmann::ordered_json j = {
      {"case", r.shape.name},
      {"ms", r.milliseconds},
      {r.read_gbps > 0 ? "gbps" : "gflops", r.read_gbps > 0 ? r.gbps : r.gflops},
      {"peak_gflops", r.peak_gflops},
      {"read_gbps", r.read_gbps},
      {"ratio", r.ratio},
      {"threads", r.threads},
      {"isa", isa_name(best_isa())},
      {"kernel", r.kernel},
      {"workspace_mb", r.workspace_mb},
      {"batch", r.shape.batch},
      {"q_len", r.shape.q_len},
      {"kv_len", r.shape.kv_len},
      {"n_heads", r.shape.n_heads},
      {"n_kv_heads", r.shape.n_kv_heads},
      {"head_dim", r.shape.head_dim},
      {"mask", r.shape.mask},
      {"q_dtype", dtype_name(r.shape.q_dtype)},
      {"kv_dtype", dtype_name(r.shape.kv_dtype)},
      {"layout", r.shape.head_major ? "bhsd" : "bshd"}};
  if (r.standard_ms > 0) {
    j["standard_ms"] = r.standard_ms;
    j["standard_mb"] = r.standard_mb;
  }
  return j;
}

void for_each_run(const BenchAttentionOptions& options,
                  const std::function<void(const BenchAttentionResult&)>& done) {
  std::vector<int> threads = options.threads;
  if (threads.empty()) {
    threads = {1};
    if (default_thread_count() > 1) threads.push_back(default_thread_count());
  }
  for (const BenchCase& c : all_bench_cases()) {
    if (c.name.find(options.filter) == std::string::npos) continue;
    for (const int n : threads) done(run_case(c, n, options.seconds));
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
    results.push_back({n, peak_of(context), peak_of(context, true),
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
