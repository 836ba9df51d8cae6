#include "base/thread_pool.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "base/cpu_features.h"
#include "base/floating_point_mode.h"

namespace raptly {
namespace {

// 20 us covers the gaps between the regions of a decoding model (about 200 a token, 5-50 us apart).
constexpr std::chrono::microseconds kSpinTime{20};

inline void pause_cpu() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

// Waits until `word` differs from `old`: spins for kSpinTime (when asked to), then sleeps on a
// futex.
template <class T>
void wait_for_change(const std::atomic<T>& word, T old, bool spin) {
  if (spin) {
    const auto end = std::chrono::steady_clock::now() + kSpinTime;
    do {
      for (int i = 0; i < 64; ++i) {
        if (word.load(std::memory_order_acquire) != old) return;
        pause_cpu();
      }
    } while (std::chrono::steady_clock::now() < end);
  }
  word.wait(old, std::memory_order_acquire);
}

std::atomic<unsigned> g_fork_count{0};

void count_forks() {
  static const int registered = pthread_atfork(
      nullptr, nullptr, [] { g_fork_count.fetch_add(1, std::memory_order_relaxed); });
  static_cast<void>(registered);
}

// The region that this thread is inside of.
struct CurrentRegion {
  const void* team = nullptr;
  int worker = 0;
};
thread_local CurrentRegion t_region;

}  // namespace

// The threads of a pool and the region they work on.
class ThreadPool::Team {
 public:
  explicit Team(int n_threads)
      : n_threads_(n_threads), spin_(n_threads <= available_cpus()), ranges_(n_threads) {}
  ~Team() { stop(); }

  void run(std::int64_t n_items, FunctionRef<void(std::int64_t, int)> body) {
    if (t_region.team == this) {  // nested: inline, on the scratch of the worker that calls
      for (std::int64_t i = 0; i < n_items; ++i) body(i, t_region.worker);
      return;
    }
    const std::lock_guard<std::mutex> one_region(callers_);
    if (n_threads_ == 1 || n_items == 1) {
      const Inside inside(this, 0);
      for (std::int64_t i = 0; i < n_items; ++i) body(i, 0);
      return;
    }
    start_workers();
    open_region(n_items, &body);
    {
      const Inside inside(this, 0);
      work(0);
    }
    close_region();
  }

  void start() {
    const std::lock_guard<std::mutex> no_region(callers_);
    start_workers();
  }

  void stop() {
    if (threads_.empty()) return;
    stopping_.store(true, std::memory_order_relaxed);
    epoch_.fetch_add(1, std::memory_order_release);
    epoch_.notify_all();
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
    stopping_.store(false, std::memory_order_relaxed);
  }

 private:
  using Body = FunctionRef<void(std::int64_t, int)>;
  struct alignas(64) Range {
    std::atomic<std::int64_t> next{0};
    std::int64_t end = 0;
  };
  // Marks the thread as inside a region and puts it into the kernels' floating-point mode.
  struct Inside {
    Inside(const void* team, int worker) : outer(t_region) { t_region = {team, worker}; }
    ~Inside() { t_region = outer; }
    CurrentRegion outer;
    FloatingPointMode mode;
  };

  void start_workers() {
    if (!threads_.empty()) return;
    threads_.reserve(static_cast<std::size_t>(n_threads_ - 1));
    const std::uint32_t epoch = epoch_.load(std::memory_order_relaxed);
    try {
      for (int worker = 1; worker < n_threads_; ++worker) {
        threads_.emplace_back([this, worker, epoch] { serve(worker, epoch); });
      }
    } catch (const std::system_error&) {  // no more threads: their ranges are stolen
    }
  }

  // `members_` holds kOpen while workers may join, plus the number that has; a worker that wakes
  // late finds it closed and is not waited for.
  static constexpr std::uint32_t kOpen = 1u << 31;

  void open_region(std::int64_t n_items, const Body* body) {
    body_ = body;
    for (int w = 0; w < n_threads_; ++w) {
      Range& range = ranges_[static_cast<std::size_t>(w)];
      range.end = n_items * (w + 1) / n_threads_;
      range.next.store(n_items * w / n_threads_, std::memory_order_relaxed);
    }
    members_.store(kOpen, std::memory_order_release);
    epoch_.fetch_add(1, std::memory_order_release);
    epoch_.notify_all();
  }

  void close_region() {
    std::uint32_t members = members_.fetch_and(~kOpen, std::memory_order_acq_rel) & ~kOpen;
    while (members != 0) {
      wait_for_change(members_, members, spin_);
      members = members_.load(std::memory_order_acquire);
    }
  }

  void serve(int worker, std::uint32_t epoch) {
    while (true) {
      wait_for_change(epoch_, epoch, spin_);
      epoch = epoch_.load(std::memory_order_acquire);
      if (stopping_.load(std::memory_order_relaxed)) return;
      if (!join()) continue;
      {
        const Inside inside(this, worker);
        work(worker);
      }
      if (members_.fetch_sub(1, std::memory_order_acq_rel) == 1) members_.notify_all();
    }
  }

  bool join() {
    std::uint32_t members = members_.load(std::memory_order_acquire);
    while ((members & kOpen) != 0) {
      if (members_.compare_exchange_weak(members, members + 1, std::memory_order_acq_rel))
        return true;
    }
    return false;
  }

  // Own range first, then single items of the others.
  void work(int worker) {
    for (int step = 0; step < n_threads_; ++step) {
      Range& range = ranges_[static_cast<std::size_t>((worker + step) % n_threads_)];
      while (range.next.load(std::memory_order_relaxed) < range.end) {
        const std::int64_t item = range.next.fetch_add(1, std::memory_order_relaxed);
        if (item < range.end) (*body_)(item, worker);
      }
    }
  }

  const int n_threads_;
  const bool spin_;
  std::vector<Range> ranges_;
  const Body* body_ = nullptr;
  alignas(64) std::atomic<std::uint32_t> epoch_{0};
  alignas(64) std::atomic<std::uint32_t> members_{0};
  std::atomic<bool> stopping_{false};
  std::mutex callers_;
  std::vector<std::thread> threads_;
};

ThreadPool::ThreadPool(int n_threads)
    : n_threads_(std::max(1, n_threads)), team_(std::make_unique<Team>(n_threads_)) {
  count_forks();
  fork_count_ = g_fork_count.load(std::memory_order_relaxed);
}

ThreadPool::~ThreadPool() {
  if (fork_count_.load() != g_fork_count.load(std::memory_order_relaxed)) {
    static_cast<void>(team_.release());  // its threads stayed in the parent: nothing to join
  }
}

ThreadPool::Team& ThreadPool::team() {
  const unsigned forks = g_fork_count.load(std::memory_order_relaxed);
  if (forks != fork_count_.load(std::memory_order_acquire)) {
    static std::mutex one_rebuilds;  // two threads of the child may meet here
    const std::lock_guard<std::mutex> lock(one_rebuilds);
    if (forks != fork_count_.load(std::memory_order_relaxed)) {
      static_cast<void>(
          team_.release());  // threads and locks of the parent cannot be used or destroyed
      team_ = std::make_unique<Team>(n_threads_);
      fork_count_.store(forks, std::memory_order_release);
    }
  }
  return *team_;
}

int ThreadPool::size() const { return n_threads_; }

void ThreadPool::start() {
  if (n_threads_ > 1) team().start();
}

void ThreadPool::stop() { team().stop(); }

void ThreadPool::parallel_for(std::int64_t n_items,
                              FunctionRef<void(std::int64_t item, int worker)> body) {
  if (n_items > 0) team().run(n_items, body);
}

}  // namespace raptly
