#include "raptly/tensor.h"

#include "raptly/error.h"

namespace raptly {

TensorShape::TensorShape(std::span<const std::int64_t> sizes)
    : TensorShape(sizes, std::array<std::int64_t, kMaxRank>{}) {
  std::int64_t stride = 1;
  for (int d = rank_ - 1; d >= 0; --d) {
    strides_[static_cast<std::size_t>(d)] = stride;
    if (__builtin_mul_overflow(stride, size(d) > 0 ? size(d) : 1, &stride)) {
      throw Error(ErrorCode::kInvalidArgument,
                  "[TensorShape] " + to_string() + " has more elements than 2^63.");
    }
  }
}

TensorShape::TensorShape(std::span<const std::int64_t> sizes,
                         std::span<const std::int64_t> strides) {
  if (sizes.size() > kMaxRank || strides.size() < sizes.size()) {
    throw Error(ErrorCode::kInvalidArgument,
                "[TensorShape] rank is " + std::to_string(sizes.size()) + " with " +
                    std::to_string(strides.size()) + " strides. The rank must be at most " +
                    std::to_string(kMaxRank) + ", with a stride for each dimension.");
  }
  rank_ = static_cast<int>(sizes.size());
  for (std::size_t d = 0; d < sizes.size(); ++d) {
    sizes_[d] = sizes[d];
    strides_[d] = strides[d];
  }
  for (int d = 0; d < rank_; ++d) {
    if (size(d) < 0) {
      throw Error(
          ErrorCode::kInvalidArgument,
          "[TensorShape] " + to_string() + " has a negative size. Sizes must be 0 or more.");
    }
  }
}

std::int64_t TensorShape::numel() const {
  std::int64_t n = 1;
  for (int d = 0; d < rank_; ++d) {
    if (size(d) == 0) return 0;
  }
  for (int d = 0; d < rank_; ++d) {
    if (__builtin_mul_overflow(n, size(d), &n)) return INT64_MAX;
  }
  return n;
}

bool TensorShape::is_contiguous() const {
  std::int64_t expected = 1;
  for (int d = rank_ - 1; d >= 0; --d) {
    if (size(d) != 1 && stride(d) != expected) return false;
    if (__builtin_mul_overflow(expected, size(d), &expected)) return false;
  }
  return true;
}

std::string TensorShape::to_string() const {
  std::string text = "[";
  for (int d = 0; d < rank_; ++d) text += (d == 0 ? "" : ", ") + std::to_string(size(d));
  return text + "]";
}

}  // namespace raptly
