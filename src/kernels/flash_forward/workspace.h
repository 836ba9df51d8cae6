// Cuts one block of memory into aligned arrays. Without memory it only counts the bytes, so that
// size and layout come from the same code.
#pragma once

#include <cstddef>
#include <cstdint>

namespace raptly {

class WorkspaceCutter {
 public:
  explicit WorkspaceCutter(std::byte* start) : start_(start) {}

  template <class T>
  T* take(std::int64_t n) {
    static_assert(alignof(T) <= kAlignment);
    const std::size_t at = used_;
    const std::size_t bytes = static_cast<std::size_t>(n) * sizeof(T);
    used_ += (bytes + kAlignment - 1) / kAlignment * kAlignment;
    return start_ == nullptr ? nullptr : reinterpret_cast<T*>(start_ + at);
  }
  std::size_t used() const { return used_; }

 private:
  static constexpr std::size_t kAlignment = 64;
  std::byte* start_;
  std::size_t used_ = 0;
};

constexpr std::int64_t round_up(std::int64_t x, std::int64_t multiple) {
  return (x + multiple - 1) / multiple * multiple;
}

}  // namespace raptly
