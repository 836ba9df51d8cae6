// Replaces operator new and aligned_alloc (AlignedBytes) of a test program by ones that count.
// Include in one file of the program, its room's test_allocations.cc.
#pragma once

#include <atomic>
#include <cstdlib>
#include <new>

#include "base/test_allocations.h"

namespace {
std::atomic<std::size_t> g_allocated{0};
}

// Not inlined: the compiler must not see malloc and delete meet. The array forms are here too: a
// sanitizer brings its own.
[[gnu::noinline]] void* operator new(std::size_t n) {
  g_allocated += n;
  if (void* p = std::malloc(n)) return p;
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new[](std::size_t n) { return operator new(n); }
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete[](void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete[](void* p, std::size_t) noexcept { std::free(p); }

extern "C" [[gnu::noinline, gnu::visibility("default")]] void* aligned_alloc(
    std::size_t alignment, std::size_t n) noexcept {
  g_allocated += n;
  void* p = nullptr;
  return posix_memalign(&p, alignment, n) == 0 ? p : nullptr;
}

namespace raptly {
std::size_t testing_allocations() { return g_allocated; }
}  // namespace raptly
