// What benchmarks measure with: the best time of a run, the FMA peak and read bandwidth of the
// machine, and how much memory a run takes.
#pragma once

#include <cstddef>
#include <functional>

#include "raptly/execution.h"

namespace raptly {

// Best of the runs that fit `seconds`, after a warm-up and at least two; a run longer than
// `seconds` is its own warm-up, and one of 4 s or more is measured once. In seconds.
double best_time(double seconds, const std::function<void()>& run);

// All threads together: of f32 FMA, or of vdpbf16ps at its level.
double peak_gflops(ExecutionContext& context, bool bf16_dots = false);

// GB/s of two buffers of n bytes, read one after the other: together as large as the keys and
// values.
double read_bandwidth(const std::byte* a, const std::byte* b, std::size_t n,
                      ExecutionContext& context);

// How far `run` raises the peak of resident memory (VmHWM), in MB: it runs once in a forked child
// that has given free memory back before. -1 where the system does not say.
double extra_peak_mb(const std::function<void()>& run);

}  // namespace raptly
