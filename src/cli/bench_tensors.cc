#include "cli/bench_tensors.h"

#include <cstring>

#include "base/convert.h"

namespace raptly {
namespace {

AlignedBytes filled(std::int64_t count, DType dtype) {
  const auto n = static_cast<std::size_t>(count);
  AlignedBytes bytes(n * dtype_size(dtype));
  std::byte* to = bytes.data();
  std::uint64_t state = 88172645463325252u;
  for (std::size_t i = 0; i < n; ++i) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    const std::uint64_t sum =
        (state & 0xffff) + (state >> 16 & 0xffff) + (state >> 32 & 0xffff);  // 0 .. 3 * 2^16
    const float x = static_cast<float>(sum) / 32768.0f - 3.0f;
    if (dtype == DType::kF32) {
      std::memcpy(to + i * 4, &x, 4);
    } else {
      const std::uint16_t bits = dtype == DType::kF16 ? to_f16(x).bits : to_bf16(x).bits;
      std::memcpy(to + i * 2, &bits, 2);
    }
  }
  return bytes;
}

TensorShape shape_of(const BenchCase& c, std::int64_t n, std::int64_t heads) {
  const std::int64_t d = c.head_dim;
  const std::int64_t sizes[] = {c.batch, n, heads, d};
  const std::int64_t token_major[] = {n * heads * d, heads * d, d, 1};
  const std::int64_t head_major[] = {n * heads * d, d, n * d, 1};
  return TensorShape(sizes, c.head_major ? head_major : token_major);
}

}  // namespace

BenchTensors::BenchTensors(const BenchCase& c, bool f32)
    : q_dtype_(f32 ? DType::kF32 : c.q_dtype),
      kv_dtype_(f32 ? DType::kF32 : c.kv_dtype),
      q_shape_(shape_of(c, c.q_len, c.n_heads)),
      kv_shape_(shape_of(c, c.kv_len, c.n_kv_heads)),
      q_(filled(c.batch * c.q_len * c.n_heads * c.head_dim, q_dtype_)),
      k_(filled(c.batch * c.kv_len * c.n_kv_heads * c.head_dim, kv_dtype_)),
      v_(filled(c.batch * c.kv_len * c.n_kv_heads * c.head_dim, kv_dtype_)),
      out_(static_cast<std::size_t>(c.batch * c.q_len * c.n_heads * c.head_dim) * 4) {
  std::memset(out_.data(), 0, out_.size());
}

}  // namespace raptly
