// Views of memory that somebody else owns: a pointer, a dtype, a shape and free strides.
// Strides count elements (not bytes); they may be zero or negative.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include "raptly/dtype.h"

namespace raptly {

// Shape and strides of a view, without its memory. Rank 0 means "no tensor given".
class TensorShape {
 public:
  static constexpr int kMaxRank = 5;

  TensorShape() = default;
  // Contiguous, last dimension fastest. Throws kInvalidArgument: rank > kMaxRank, a negative size.
  explicit TensorShape(std::span<const std::int64_t> sizes);
  TensorShape(std::span<const std::int64_t> sizes, std::span<const std::int64_t> strides);

  int rank() const { return rank_; }
  std::int64_t size(int dim) const { return sizes_[static_cast<std::size_t>(dim)]; }
  std::int64_t stride(int dim) const { return strides_[static_cast<std::size_t>(dim)]; }
  std::int64_t numel() const;
  bool is_contiguous() const;
  std::string to_string() const;  // "[2, 128, 8, 64]"

 private:
  int rank_ = 0;
  std::array<std::int64_t, kMaxRank> sizes_{};
  std::array<std::int64_t, kMaxRank> strides_{};
};

class TensorView {
 public:
  TensorView() = default;
  TensorView(const void* data, DType dtype, TensorShape shape)
      : data_(data), dtype_(dtype), shape_(shape) {}
  template <class T>
  TensorView(const T* data, std::initializer_list<std::int64_t> sizes)
      : TensorView(data, DTypeOf<T>::value, TensorShape(std::span(sizes.begin(), sizes.size()))) {}

  const void* data() const { return data_; }
  template <class T>
  const T* as() const {
    return static_cast<const T*>(data_);
  }
  DType dtype() const { return dtype_; }
  const TensorShape& shape() const { return shape_; }
  int rank() const { return shape_.rank(); }
  std::int64_t size(int dim) const { return shape_.size(dim); }
  std::int64_t stride(int dim) const { return shape_.stride(dim); }
  bool given() const { return shape_.rank() != 0; }

 private:
  const void* data_ = nullptr;
  DType dtype_ = DType::kF32;
  TensorShape shape_;
};

class MutableTensorView {
 public:
  MutableTensorView() = default;
  MutableTensorView(void* data, DType dtype, TensorShape shape)
      : data_(data), dtype_(dtype), shape_(shape) {}
  template <class T>
  MutableTensorView(T* data, std::initializer_list<std::int64_t> sizes)
      : MutableTensorView(data, DTypeOf<T>::value,
                          TensorShape(std::span(sizes.begin(), sizes.size()))) {}
  operator TensorView() const { return {data_, dtype_, shape_}; }  // NOLINT: a view of the same

  void* data() const { return data_; }
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  DType dtype() const { return dtype_; }
  const TensorShape& shape() const { return shape_; }
  int rank() const { return shape_.rank(); }
  std::int64_t size(int dim) const { return shape_.size(dim); }
  std::int64_t stride(int dim) const { return shape_.stride(dim); }
  bool given() const { return shape_.rank() != 0; }

 private:
  void* data_ = nullptr;
  DType dtype_ = DType::kF32;
  TensorShape shape_;
};

}  // namespace raptly
