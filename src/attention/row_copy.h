// Rows of tensors [batch, len, n_heads, dim] into dense memory and back: for entry points that
// stack rows of several places.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "raptly/tensor.h"

namespace raptly {

// All heads of a token.
struct RowShape {
  std::int64_t n_heads = 0, dim = 0;
  std::size_t element = 4;  // bytes

  std::size_t bytes() const { return static_cast<std::size_t>(n_heads * dim) * element; }
};

// Rows of one batch entry; strides in bytes.
struct RowsAt {
  std::byte* at = nullptr;
  std::int64_t token = 0, head = 0, dim = 1;

  static RowsAt of_entry(const void* data, const TensorView& t, std::int64_t batch) {
    if (data == nullptr) return {};
    const auto size = static_cast<std::int64_t>(dtype_size(t.dtype()));
    auto* start = const_cast<std::byte*>(static_cast<const std::byte*>(data));
    return {start + batch * t.stride(0) * size, t.stride(1) * size, t.stride(2) * size,
            t.stride(3) * size};
  }
  static RowsAt dense(std::byte* start, const RowShape& shape) {
    const auto element = static_cast<std::int64_t>(shape.element);
    return {start, static_cast<std::int64_t>(shape.bytes()), shape.dim * element, element};
  }
};

inline void copy_row(const RowShape& shape, const RowsAt& from, std::int64_t from_token,
                     const RowsAt& to, std::int64_t to_token) {
  if (from.at == nullptr || to.at == nullptr) return;  // tensors without elements
  const auto size = static_cast<std::int64_t>(shape.element);
  for (std::int64_t h = 0; h < shape.n_heads; ++h) {
    const std::byte* in = from.at + from_token * from.token + h * from.head;
    std::byte* out = to.at + to_token * to.token + h * to.head;
    if (from.dim == size && to.dim == size) {
      std::memcpy(out, in, static_cast<std::size_t>(shape.dim) * shape.element);
      continue;
    }
    for (std::int64_t c = 0; c < shape.dim; ++c) {
      std::memcpy(out + c * to.dim, in + c * from.dim, shape.element);
    }
  }
}

}  // namespace raptly
