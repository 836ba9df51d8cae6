#include "cli/bench_report.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <ostream>
#include <string>

namespace raptly {
namespace {

// The bars end where a line of a terminal does.
constexpr double kBarWidth = 40;

}  // namespace

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
  if (r.extra_mb >= 0) {
    std::snprintf(line, sizeof(line), "  %.1f MB extra", r.extra_mb);
    out << line;
  }
  if (r.standard_ms > 0) {
    std::snprintf(line, sizeof(line), "  standard %.3f ms (%.2fx), %.1f MB", r.standard_ms,
                  r.standard_ms / r.milliseconds, r.standard_mb);
    out << line;
  }
  if (r.flash1_ms > 0) {
    std::snprintf(line, sizeof(line), "  FlashAttention-1 schedule %.3f ms (%.2fx)", r.flash1_ms,
                  r.flash1_ms / r.milliseconds);
    out << line;
  }
  out << '\n' << std::flush;
}

void print_bars(const BenchAttentionResult& r, std::ostream& out) {
  const auto bar = [&](const char* name, double value, double largest, const char* unit) {
    char text[160];
    const int n = std::max(1, static_cast<int>(kBarWidth * value / largest + 0.5));
    std::snprintf(text, sizeof(text), "  %-9s %-40s %.1f %s\n", name,
                  std::string(static_cast<std::size_t>(n), '#').c_str(), value, unit);
    out << text;
  };
  const double ours_mb = std::max(0.0, r.extra_mb);
  out << r.shape.name << ", " << r.threads << (r.threads == 1 ? " thread" : " threads") << '\n';
  bar("raptly", r.milliseconds, std::max(r.milliseconds, r.standard_ms), "ms");
  bar("standard", r.standard_ms, std::max(r.milliseconds, r.standard_ms), "ms");
  bar("raptly", ours_mb, std::max(ours_mb, r.standard_mb), "MB extra");
  bar("standard", r.standard_mb, std::max(ours_mb, r.standard_mb), "MB extra");
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
      {"ratio", r.ratio},
      {"threads", r.threads},
      {"isa", isa_name(best_isa())},
      {"kernel", r.kernel},
      {"density", r.density},
      {"workspace_mb", r.workspace_mb},
      {"batch", r.shape.batch},
      {"q_len", r.shape.q_len},
      {"kv_len", r.shape.kv_len},
      {"n_heads", r.shape.n_heads},
      {"n_kv_heads", r.shape.n_kv_heads},
      {"head_dim", r.shape.head_dim},
      {"mask", r.shape.mask},
      {"bias", r.shape.bias},
      {"backward", r.shape.backward},
      {"q_dtype", dtype_name(r.shape.q_dtype)},
      {"kv_dtype", dtype_name(r.shape.kv_dtype)},
      {"layout", r.shape.head_major ? "bhsd" : "bshd"},
      {"page_size", r.shape.page_size}};
  if (r.read_gbps > 0) j["read_gbps"] = r.read_gbps;
  if (r.extra_mb >= 0) j["extra_mb"] = r.extra_mb;
  if (r.standard_ms > 0) {
    j["standard_ms"] = r.standard_ms;
    j["standard_mb"] = r.standard_mb;
  }
  if (r.flash1_ms > 0) j["flash1_ms"] = r.flash1_ms;
  return j;
}

}  // namespace raptly
