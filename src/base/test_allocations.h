// Bytes that operator new and aligned_alloc have handed out in this test program so far.
#pragma once

#include <cstddef>

namespace raptly {

std::size_t testing_allocations();

}  // namespace raptly
