// `raptly bench attention`: named cases, each as a share of what the machine can do, measured in
// the same process: the FMA peak before and after the case (the larger counts; of
// vdpbf16ps where both operands are bf16 and the level has it), the read bandwidth
// of a buffer of the case's size. Standard attention (materialised softmax) runs beside it, and the
// peak of resident memory is measured in a child process.
#pragma once

#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

#include "cli/bench_cases.h"
#include "raptly/execution.h"

namespace raptly {

struct BenchAttentionOptions {
  std::string filter;  // runs the case of this name, or all whose name contains it
  std::optional<BenchCase> custom = std::nullopt;  // runs this one instead
  std::vector<int> threads;                        // empty: 1 and all
  bool json = false;
  bool bars = false;     // a picture of time and memory against standard attention
  double seconds = 1.0;  // spent on each case, at least two runs
  bool alone = false;    // neither baselines nor the child process that measures memory
};

struct BenchAttentionResult {
  BenchCase shape;
  std::string kernel;  // as the plan names it
  int threads = 1;
  double milliseconds = 0;      // best run
  double gflops = 0, gbps = 0;  // of the best run; visible pairs only
  double peak_gflops = 0;       // of `threads` threads; of vdpbf16ps where the kernel uses it
  double read_gbps = 0;         // decode cases
  double ratio = 0;             // gflops / peak, or for decode roofline time / time
  double density = 1;           // visible pairs / all pairs
  double workspace_mb = 0;      // as the plan says
  double extra_mb = -1;         // as VmHWM of a child process says; -1: the system does not say
  double standard_ms = 0, standard_mb = 0;  // 0: not run, its scores have more than 1.1 GB
  double flash1_ms = 0;                     // 0: not run
};

std::vector<std::string> bench_attention_cases();
std::vector<BenchAttentionResult> bench_attention(const BenchAttentionOptions& options);
// Runs and prints; 2 when no case has the name.
int bench_attention_command(const BenchAttentionOptions& options, std::ostream& out);

// The machine: level, FMA peak and read bandwidth, for 1 and all threads.
struct ProbeResult {
  int threads = 1;
  double peak_gflops = 0, bf16_dot_gflops = 0, read_gbps = 0;  // bf16: 0 below its level
};
std::vector<ProbeResult> probe_machine(double megabytes);
int probe_command(bool json, std::ostream& out);

}  // namespace raptly
