#include "base/aligned.h"

#include <sys/mman.h>

#include <cstdlib>
#include <string>

#include "raptly/error.h"

namespace raptly {
namespace {
constexpr std::size_t kHugePage = std::size_t{2} << 20;
}

AlignedBytes::AlignedBytes(std::size_t n_bytes) : size_(n_bytes) {
  if (n_bytes == 0) return;
  const bool huge = n_bytes >= kHugePage;
  const std::size_t alignment = huge ? kHugePage : 64;
  const std::size_t rounded = (n_bytes + alignment - 1) / alignment * alignment;
  void* memory = rounded < n_bytes ? nullptr : std::aligned_alloc(alignment, rounded);
  if (memory == nullptr) {
    throw Error(ErrorCode::kOutOfMemory, "[memory] " + std::to_string(n_bytes) +
                                             " bytes were asked for. The system has no more.");
  }
  if (huge) madvise(memory, rounded, MADV_HUGEPAGE);
  data_.reset(static_cast<std::byte*>(memory));
}

void AlignedBytes::Free::operator()(std::byte* p) const noexcept { std::free(p); }

}  // namespace raptly
