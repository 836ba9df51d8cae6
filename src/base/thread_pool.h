// A small thread pool for short regions: spin, then park.
//
// The caller takes part as worker 0. Each worker starts with a static contiguous range of the items
// (the same worker gets the same heads and weights at each call) and steals single items from the
// others when its own are done. Workers spin at most 20 us for the next region, then sleep on a
// futex; they do not spin when there are more threads than CPUs. Concurrent callers share the pool
// one region at a time; a call from inside a region runs inline on the worker that makes it. After
// fork() the child builds its threads anew.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <type_traits>

namespace raptly {

// A non-owning reference to a callable; must not outlive it.
template <class Signature>
class FunctionRef;
template <class R, class... Args>
class FunctionRef<R(Args...)> {
 public:
  template <class F>
    requires(!std::is_same_v<std::remove_cvref_t<F>, FunctionRef>)
  FunctionRef(F&& f)  // NOLINT: binds any callable
      : object_(const_cast<void*>(static_cast<const void*>(&f))),
        call_([](void* object, Args... args) -> R {
          return (*static_cast<std::remove_reference_t<F>*>(object))(args...);
        }) {}
  R operator()(Args... args) const { return call_(object_, args...); }

 private:
  void* object_;
  R (*call_)(void*, Args...);
};

// min(affinity mask, cgroup CPU quota, physical cores), at least 1.
int default_thread_count();

class ThreadPool {
 public:
  explicit ThreadPool(
      int n_threads);  // >= 1; threads start at the first parallel region or start()
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const;
  // Runs body(item, worker) once for each item in [0, n_items) and returns when all are done.
  // worker is in [0, size()): the index of per-thread scratch. The body must not throw. It runs
  // with MXCSR = 0x9FC0 (flush to zero, denormals are zero, round to nearest) and the caller's
  // control word is restored afterwards, so denormal probabilities cost nothing and results do not
  // depend on the caller's floating-point environment.
  void parallel_for(std::int64_t n_items, FunctionRef<void(std::int64_t item, int worker)> body);
  // Starts the workers now instead of at the first region. Where the system refuses a thread, those
  // that there are do its work.
  void start();
  // Ends the workers; later regions start them again. Not while a region runs.
  void stop();

 private:
  class Team;
  Team& team();  // the current one; made anew in a forked child

  const int n_threads_;
  std::unique_ptr<Team> team_;
  std::atomic<unsigned> fork_count_ = 0;
};

}  // namespace raptly
