// Counts what this test program allocates.
#include "base/test_allocations-inl.h"
