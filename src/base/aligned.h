// Owned memory for kernels: 64-byte aligned, on huge pages where it is large.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace raptly {

// Throws Error{kOutOfMemory} when the system has no more. Not zeroed.
class AlignedBytes {
 public:
  AlignedBytes() = default;
  explicit AlignedBytes(std::size_t n_bytes);

  std::byte* data() const { return data_.get(); }
  std::size_t size() const { return size_; }

 private:
  struct Free {
    void operator()(std::byte* p) const noexcept;
  };
  std::unique_ptr<std::byte, Free> data_;
  std::size_t size_ = 0;
};

// An array of trivially copyable T; not initialised.
template <class T>
class AlignedArray {
 public:
  AlignedArray() = default;
  explicit AlignedArray(std::size_t n) : bytes_(n * sizeof(T)), n_(n) {}

  T* data() const { return reinterpret_cast<T*>(bytes_.data()); }
  std::size_t size() const { return n_; }
  T& operator[](std::size_t i) const { return data()[i]; }
  std::span<T> span() const { return {data(), n_}; }

 private:
  AlignedBytes bytes_;
  std::size_t n_ = 0;
};

}  // namespace raptly
