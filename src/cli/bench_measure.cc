#include "cli/bench_measure.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <string>
#include <vector>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include "base/thread_pool.h"
#include "kernels/probe/probe.h"

namespace raptly {
namespace {

double time_of(const std::function<void()>& run) {
  const auto start = std::chrono::steady_clock::now();
  run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// VmHWM in kB; -1 where /proc has none.
long peak_memory_kb() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    long kilobytes = -1;
    if (word == "VmHWM:" && status >> kilobytes) return kilobytes;
  }
  return -1;
}

// VmHWM becomes what is resident now.
bool reset_peak() {
  std::ofstream file("/proc/self/clear_refs");
  return static_cast<bool>(file << "5" << std::flush);
}

// In the child: kB that `run` adds, -1 on failure.
long extra_peak_kb(const std::function<void()>& run) noexcept try {
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
  const long before = reset_peak() ? peak_memory_kb() : -1;
  run();
  return before < 0 ? -1 : peak_memory_kb() - before;
} catch (...) {
  return -1;
}

}  // namespace

double best_time(double seconds, const std::function<void()>& run) {
  constexpr double kLong = 4;
  const double first = time_of(run);
  const bool counts = first > seconds;
  double best = counts ? first : 1e30, total = counts ? first : 0;
  const int least = first > kLong ? 1 : 2;
  for (int i = counts ? 1 : 0; i < least || (total < seconds && i < 2000); ++i) {
    const double t = time_of(run);
    best = std::min(best, t);
    total += t;
  }
  return best;
}

double peak_gflops(ExecutionContext& context, bool bf16_dots) {
  std::vector<double> each(static_cast<std::size_t>(context.threads()));
  context.pool().parallel_for(context.threads(), [&](std::int64_t item, int) {
    each[static_cast<std::size_t>(item)] =
        bf16_dots ? bf16_dot_peak_gflops(context.isa()) : fma_peak_gflops(context.isa());
  });
  double total = 0;
  for (const double gflops : each) total += gflops;
  return total;
}

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

double extra_peak_mb(const std::function<void()>& run) {
  int ends[2];
  if (pipe(ends) != 0) return -1;
  const pid_t child = fork();
  if (child == 0) {
    const long kilobytes = extra_peak_kb(run);
    const bool sent = write(ends[1], &kilobytes, sizeof kilobytes) == sizeof kilobytes;
    _exit(sent ? 0 : 1);
  }
  close(ends[1]);
  long kilobytes = -1;
  if (child < 0 || read(ends[0], &kilobytes, sizeof kilobytes) != sizeof kilobytes) kilobytes = -1;
  close(ends[0]);
  if (child > 0) waitpid(child, nullptr, 0);
  return kilobytes < 0 ? -1 : static_cast<double>(kilobytes) / 1e3;
}

}  // namespace raptly
