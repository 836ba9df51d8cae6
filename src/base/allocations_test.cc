// The counter that other rooms' tests lean on ("run allocates nothing") does count.
#include <gtest/gtest.h>

#include <memory>

#include "base/aligned.h"
#include "base/test_allocations.h"

namespace raptly {
namespace {

TEST(Allocations, OperatorNewIsCounted) {
  const std::size_t before = testing_allocations();
  const auto memory = std::make_unique<char[]>(1000);
  EXPECT_NE(memory.get(), nullptr);
  EXPECT_GE(testing_allocations() - before, 1000u);
}

TEST(Allocations, AlignedBytesAreCounted) {
  const std::size_t before = testing_allocations();
  const AlignedBytes memory(5000);
  EXPECT_NE(memory.data(), nullptr);
  EXPECT_GE(testing_allocations() - before, 5000u);
}

TEST(Allocations, NothingIsCountedWhereNothingIsAllocated) {
  const std::size_t before = testing_allocations();
  EXPECT_EQ(testing_allocations(), before);
}

}  // namespace
}  // namespace raptly
