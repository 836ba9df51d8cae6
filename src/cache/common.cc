#include "cache/common.h"

#include <algorithm>

#include "base/convert.h"

namespace raptly {
namespace {

constexpr std::int64_t kLargestSize = std::int64_t{1} << 31;
constexpr std::int64_t kLargestGrowth = std::int64_t{1} << 62;

template <class T>
void narrow_rows(const float* from, std::int64_t n_heads, std::int64_t dim, T* to,
                 std::int64_t head_stride) {
  for (std::int64_t h = 0; h < n_heads; ++h) narrow(from + h * dim, dim, to + h * head_stride);
}

}  // namespace

void reject(const char* where, const std::string& what, ErrorCode code) {
  throw Error(code, "[" + std::string(where) + "] " + what);
}

void check_size(const char* where, const char* name, std::int64_t value, std::int64_t least) {
  if (value >= least && value <= kLargestSize) return;
  reject(where, std::string(name) + " is " + std::to_string(value) + ". It must be " +
                    std::to_string(least) + " to " + std::to_string(kLargestSize) + ".");
}

CacheShape checked_shape(const char* where, CacheShape shape) {
  check_size(where, "n_layers", shape.n_layers);
  check_size(where, "n_kv_heads", shape.n_kv_heads);
  check_size(where, "head_dim", shape.head_dim);
  if (shape.v_dim != 0) check_size(where, "v_dim", shape.v_dim);
  if (shape.dtype == DType::kF64) reject(where, "dtype is f64. It must be f32, bf16 or f16.");
  if (shape.v_dim == 0) shape.v_dim = shape.head_dim;
  return shape;
}

void check_bytes(const char* where, const CacheShape& shape, std::int64_t tokens) {
  const double bytes = static_cast<double>(shape.n_layers) * static_cast<double>(shape.n_kv_heads) *
                       static_cast<double>(shape.head_dim + shape.v_dim) *
                       static_cast<double>(tokens) * static_cast<double>(dtype_size(shape.dtype));
  if (bytes <= 0x1p62) return;
  reject(where, std::to_string(tokens) + " tokens would need " + std::to_string(bytes) + " bytes.",
         ErrorCode::kOutOfMemory);
}

void check_layer(const char* where, const CacheShape& shape, std::int64_t layer) {
  if (layer >= 0 && layer < shape.n_layers) return;
  reject(where, "layer is " + std::to_string(layer) + ". The cache has " +
                    std::to_string(shape.n_layers) + " layers.");
}

void check_truncate(const char* where, std::int64_t n, std::int64_t length) {
  if (n >= 0 && n <= length) return;
  reject(where, "cannot truncate to " + std::to_string(n) + " tokens. The sequence has " +
                    std::to_string(length) + ".");
}

std::map<SequenceId, std::int64_t> growth(const char* where, std::span<const SequenceId> sequences,
                                          std::span<const std::int64_t> lengths,
                                          std::span<const std::int32_t> tokens) {
  if (sequences.size() != lengths.size()) {
    reject(where, std::to_string(sequences.size()) + " sequences but " +
                      std::to_string(lengths.size()) +
                      " lengths were given. They must be as many.");
  }
  std::map<SequenceId, std::int64_t> grown;
  std::int64_t total = 0;
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    if (lengths[i] < 0) {
      reject(where, "a length is " + std::to_string(lengths[i]) + ". It must be 0 or more.");
    }
    for (std::int64_t* sum : {&total, &grown[sequences[i]]}) {
      *sum = lengths[i] > kLargestGrowth - *sum ? kLargestGrowth : *sum + lengths[i];
    }
  }
  if (!tokens.empty() && total != static_cast<std::int64_t>(tokens.size())) {
    reject(where, std::to_string(tokens.size()) + " tokens were given for lengths that add up to " +
                      std::to_string(total) + ". Give one each, or none.");
  }
  return grown;
}

std::size_t token_bytes(const CacheShape& shape) {
  return static_cast<std::size_t>(shape.n_layers * shape.n_kv_heads *
                                  (shape.head_dim + shape.v_dim)) *
         dtype_size(shape.dtype);
}

void store_rows(const CacheShape& shape, bool value, const float* from, std::byte* to,
                std::int64_t head_stride) noexcept {
  const std::int64_t dim = value ? shape.v_dim : shape.head_dim;
  switch (shape.dtype) {
    case DType::kF16:
      return narrow_rows(from, shape.n_kv_heads, dim, reinterpret_cast<F16*>(to), head_stride);
    case DType::kBf16:
      return narrow_rows(from, shape.n_kv_heads, dim, reinterpret_cast<Bf16*>(to), head_stride);
    default:
      return narrow_rows(from, shape.n_kv_heads, dim, reinterpret_cast<float*>(to), head_stride);
  }
}

// The window of the next query begins where everything up to it is stored, or among the sinks.
std::int64_t KvCache::rollback_point(SequenceId sequence, std::int64_t n) const {
  const CacheWindow kept = window();
  n = std::min(n, length(sequence));
  const std::int64_t first = first_kept(sequence);
  if (kept.window == 0 || first <= kept.n_sinks || n >= first + kept.window - 1) return n;
  return std::min(n, kept.n_sinks);
}

std::int64_t KvCache::first_kept(SequenceId sequence) const {
  static_cast<void>(length(sequence));  // that it is there
  return 0;
}

std::int64_t KvCache::max_chunk(SequenceId sequence) const {
  return capacity(sequence) - length(sequence);
}

}  // namespace raptly
