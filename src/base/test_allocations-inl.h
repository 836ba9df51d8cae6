// Replaces operator new of a test program by one that counts. Include in one file of its own, so
// that the compiler does not see malloc and delete meet; the test there shows that it counts.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>

#include "base/test_allocations.h"

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

TEST(Allocations, AreCounted) {
  const std::size_t before = testing_allocations();
  const auto memory = std::make_unique<char[]>(1000);
  EXPECT_NE(memory.get(), nullptr);
  EXPECT_GE(testing_allocations() - before, 1000u);
}
}  // namespace raptly
