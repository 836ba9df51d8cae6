#include "base/thread_pool.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "base/cpu_features.h"
#include "raptly/error.h"
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace raptly {
namespace {

void check_all_items_once(ThreadPool& pool, std::int64_t n) {
  std::vector<std::atomic<int>> seen(static_cast<std::size_t>(n));
  pool.parallel_for(n, [&](std::int64_t item, int worker) {
    EXPECT_GE(worker, 0);
    EXPECT_LT(worker, pool.size());
    seen[static_cast<std::size_t>(item)].fetch_add(1);
  });
  for (auto& count : seen) EXPECT_EQ(count.load(), 1);
}

TEST(ThreadPool, RunsEachItemOnce) {
  for (int threads : {1, 2, 3, 7}) {
    ThreadPool pool(threads);
    for (int repeat = 0; repeat < 200; ++repeat) {
      for (std::int64_t n : {0, 1, 2, 3, 17, 100}) check_all_items_once(pool, n);
    }
  }
}

TEST(ThreadPool, SixtyFourThreadsOnFewCpusDoNotCollapse) {
  ThreadPool pool(64);
  const auto start = std::chrono::steady_clock::now();
  for (int repeat = 0; repeat < 100; ++repeat) check_all_items_once(pool, 256);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

TEST(ThreadPool, SecondThreadTakesPart) {
  ThreadPool pool(2);
  std::mutex mutex;
  std::set<int> workers;
  for (int repeat = 0; repeat < 100 && workers.size() < 2; ++repeat) {
    pool.parallel_for(2, [&](std::int64_t, int worker) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      const std::lock_guard<std::mutex> lock(mutex);
      workers.insert(worker);
    });
  }
  EXPECT_EQ(workers.size(), 2u);
}

TEST(ThreadPool, WorkersWakeAfterALongPause) {
  ThreadPool pool(2);
  for (int repeat = 0; repeat < 20; ++repeat) {
    check_all_items_once(pool, 64);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));  // past the spin: they sleep
  }
}

TEST(ThreadPool, NestedCallsRunInline) {
  ThreadPool pool(3);
  std::atomic<int> total{0};
  pool.parallel_for(9, [&](std::int64_t, int worker) {
    const auto outer = std::this_thread::get_id();
    pool.parallel_for(5, [&](std::int64_t, int inner_worker) {
      EXPECT_EQ(inner_worker, worker);
      EXPECT_EQ(std::this_thread::get_id(), outer);
      total.fetch_add(1);
    });
  });
  EXPECT_EQ(total.load(), 45);
}

TEST(ThreadPool, ConcurrentCallersShare) {
  ThreadPool pool(2);
  std::vector<std::thread> callers;
  for (int c = 0; c < 4; ++c) {
    callers.emplace_back([&] {
      for (int repeat = 0; repeat < 50; ++repeat) check_all_items_once(pool, 33);
    });
  }
  for (auto& caller : callers) caller.join();
}

TEST(ThreadPool, StopAndGoOn) {
  ThreadPool pool(2);
  check_all_items_once(pool, 10);
  pool.stop();
  pool.stop();
  check_all_items_once(pool, 10);
}

#if !defined(__SANITIZE_THREAD__)
TEST(ThreadPool, ForkedChildBuildsItsOwnThreads) {
  ThreadPool pool(2);
  check_all_items_once(pool, 10);
  const pid_t child = fork();
  if (child == 0) {
    std::atomic<int> total{0};
    pool.parallel_for(100, [&](std::int64_t, int) { total.fetch_add(1); });
    _exit(total.load() == 100 ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  check_all_items_once(pool, 10);
}
#endif

#if defined(__x86_64__)
TEST(ThreadPool, ControlWordIsSetInsideAndRestored) {
  const unsigned before = _mm_getcsr();
  _mm_setcsr(before | 0x6000);  // the caller rounds toward zero
  for (int threads : {1, 2}) {
    ThreadPool pool(threads);
    pool.parallel_for(
        16, [&](std::int64_t, int) { EXPECT_EQ(_mm_getcsr() & ~0x3Fu, 0x9FC0u & ~0x3Fu); });
    EXPECT_EQ(_mm_getcsr(), before | 0x6000);
  }
  _mm_setcsr(before);
}
#endif

TEST(CpuFeatures, LevelsEndAtTheLimit) {
  CpuFeatures all;
  all.avx2 = all.avx512 = all.avx512_bf16 = all.amx = true;
  EXPECT_EQ(levels_of(all, nullptr).back(), Isa::kAmx);
  EXPECT_EQ(levels_of(all, "avx512").back(), Isa::kAvx512);
  EXPECT_EQ(levels_of(all, "scalar"), std::vector<Isa>{Isa::kScalar});
  EXPECT_EQ(levels_of(CpuFeatures{}, "amx"), std::vector<Isa>{Isa::kScalar});
  try {
    levels_of(all, "sse9");
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(
        error.what(),
        "[RAPTLY_MAX_ISA] is \"sse9\". It must be scalar, neon, avx2, avx512, avx512_bf16 or amx.");
  }
}

// A level of other bits may not come and go with a timing: it follows from the CPU's family.
TEST(CpuFeatures, Bf16DotsAreALevelWhereTheyAreFastOrAskedFor) {
  EXPECT_GE(bf16_dot_ratio("AuthenticAMD", 0x19), 1.5);
  EXPECT_GE(bf16_dot_ratio("AuthenticAMD", 0x1a), 1.5);
  EXPECT_LT(bf16_dot_ratio("GenuineIntel", 6), 1.5);
  EXPECT_EQ(bf16_dot_ratio("AuthenticAMD", 0x17), 0);
  EXPECT_EQ(bf16_dot_ratio("", 0), 0);
  CpuFeatures slow;
  slow.avx2 = slow.avx512 = slow.avx512_bf16 = true;
  CpuFeatures fast = slow;
  fast.fast_bf16_dots = true;
  EXPECT_EQ(levels_of(slow, nullptr).back(), Isa::kAvx512);
  EXPECT_EQ(levels_of(slow, "amx").back(), Isa::kAvx512);
  EXPECT_EQ(levels_of(slow, "avx512_bf16").back(), Isa::kAvx512Bf16);
  EXPECT_EQ(levels_of(fast, nullptr).back(), Isa::kAvx512Bf16);
  EXPECT_EQ(levels_of(fast, "avx512").back(), Isa::kAvx512);
}

TEST(ExecutionContext, RefusesImpossibleThreads) {
  for (int threads : {-1, 1025}) {
    try {
      ExecutionContext context(threads);
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      EXPECT_NE(std::string(error.what()).find(std::to_string(threads)), std::string::npos);
    }
  }
  EXPECT_GE(ExecutionContext().threads(), 1);
  EXPECT_LE(default_thread_count(), available_cpus());
}

}  // namespace
}  // namespace raptly
