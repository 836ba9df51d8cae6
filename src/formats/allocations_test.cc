// Replaces operator new of the test program by one that counts. A file of its own, so that the
// compiler does not see malloc and delete meet.
#include <atomic>
#include <cstdlib>
#include <new>

#include "formats/test_allocations.h"

namespace {
std::atomic<std::size_t> g_allocated{0};
}

void* operator new(std::size_t n) {
  g_allocated += n;
  if (void* p = std::malloc(n)) return p;
  throw std::bad_alloc();
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }

namespace raptly {
std::size_t testing_allocations() { return g_allocated; }
}  // namespace raptly
