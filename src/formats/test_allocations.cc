// Counts what this test program allocates; TEST(Allocations, AreCounted) comes with it.
#include "base/test_allocations-inl.h"
