// Random attention problems for the tests of this room: tensors in any dtype and layout, their f64
// twins, and the gate of docs/numerics.md.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "kernels/flash_forward/flash_forward.h"
#include "raptly/attention.h"

namespace raptly::attention_testing {

// A tensor [a, b, c, d] that owns its memory; `permuted` stores it as [a, c, b, d] ("bhsd").
struct TestTensor {
  std::vector<std::byte> bytes;
  DType dtype = DType::kF32;
  TensorShape shape;

  TestTensor(DType type, std::vector<std::int64_t> sizes, bool permuted = false) : dtype(type) {
    std::vector<std::int64_t> strides = {sizes[1] * sizes[2] * sizes[3], sizes[2] * sizes[3],
                                         sizes[3], 1};
    if (permuted) strides = {sizes[1] * sizes[2] * sizes[3], sizes[3], sizes[1] * sizes[3], 1};
    shape = TensorShape(sizes, strides);
    bytes.resize(static_cast<std::size_t>(shape.numel()) * dtype_size(dtype));
  }
  MutableTensorView view() { return {bytes.data(), dtype, shape}; }
  std::int64_t numel() const { return shape.numel(); }
  void set(std::int64_t i, double x) {
    std::byte* p = bytes.data() + static_cast<std::size_t>(i) * dtype_size(dtype);
    const auto put = [&](auto value) { std::memcpy(p, &value, sizeof(value)); };
    switch (dtype) {
      case DType::kF64:
        put(x);
        break;
      case DType::kF32:
        put(static_cast<float>(x));
        break;
      case DType::kF16:
        put(to_f16(static_cast<float>(x)));
        break;
      case DType::kBf16:
        put(to_bf16(static_cast<float>(x)));
        break;
    }
  }
  double get(std::int64_t i) const {
    const std::byte* p = bytes.data() + static_cast<std::size_t>(i) * dtype_size(dtype);
    const auto take = [&]<class T>(T value) {
      std::memcpy(static_cast<void*>(&value), p, sizeof(value));
      return value;
    };
    switch (dtype) {
      case DType::kF64:
        return take(double{});
      case DType::kF32:
        return static_cast<double>(take(float{}));
      case DType::kF16:
        return static_cast<double>(to_float(take(F16{})));
      case DType::kBf16:
        return static_cast<double>(to_float(take(Bf16{})));
    }
    return 0;
  }
  void fill(std::mt19937& random, double deviation = 1) {
    std::normal_distribution<double> normal(0, deviation);
    for (std::int64_t i = 0; i < numel(); ++i) set(i, normal(random));
  }
  // The element at four indices, as an index into memory.
  std::int64_t index(std::int64_t a, std::int64_t b, std::int64_t c, std::int64_t d) const {
    return a * shape.stride(0) + b * shape.stride(1) + c * shape.stride(2) + d * shape.stride(3);
  }
  TestTensor as_f64() const {
    TestTensor wide = *this;
    wide.dtype = DType::kF64;
    wide.bytes.resize(static_cast<std::size_t>(numel()) * 8);
    for (std::int64_t i = 0; i < numel(); ++i) wide.set(i, get(i));
    return wide;
  }
};

struct Sizes {
  std::int64_t batch = 1, q_len = 1, kv_len = 1, n_heads = 1, n_kv_heads = 1, head_dim = 64,
               v_dim = 64;
};

struct TestProblem {
  Sizes sizes;
  TestTensor q, k, v, out;
  std::vector<float> lse;
  AttentionOptions options;

  TestProblem(const Sizes& s, DType q_dtype, DType kv_dtype, unsigned seed, bool permuted = false)
      : sizes(s),
        q(q_dtype, {s.batch, s.q_len, s.n_heads, s.head_dim}, permuted),
        k(kv_dtype, {s.batch, s.kv_len, s.n_kv_heads, s.head_dim}, permuted),
        v(kv_dtype, {s.batch, s.kv_len, s.n_kv_heads, s.v_dim}, permuted),
        out(DType::kF32, {s.batch, s.q_len, s.n_heads, s.v_dim}, permuted),
        lse(static_cast<std::size_t>(s.batch * s.n_heads * s.q_len), 7.0f) {
    std::mt19937 random(seed);
    q.fill(random);
    k.fill(random);
    v.fill(random);
    for (std::int64_t i = 0; i < out.numel(); ++i) out.set(i, 7);
  }
  MutableTensorView lse_view() { return {lse.data(), {sizes.batch, sizes.n_heads, sizes.q_len}}; }
  void run(ExecutionContext& context) {
    attention(q.view(), k.view(), v.view(), out.view(), options, lse_view(), context);
  }
};

// The answer of the f64 path.
struct Reference {
  TestTensor q, k, v, out;
  std::vector<float> lse;

  explicit Reference(TestProblem& p)
      : q(p.q.as_f64()),
        k(p.k.as_f64()),
        v(p.v.as_f64()),
        out(DType::kF64, {p.sizes.batch, p.sizes.q_len, p.sizes.n_heads, p.sizes.v_dim}),
        lse(p.lse.size()) {
    attention(q.view(), k.view(), v.view(), out.view(), p.options,
              MutableTensorView(lse.data(), {p.sizes.batch, p.sizes.n_heads, p.sizes.q_len}));
  }
};

// |out - reference| within the gate: a few roundings of the row's own magnitude. The largest |q k|
// of a row and sum p |v| are bounded by norms, which makes the gate a little wider than its
// definition.
inline void check_against(const Reference& reference, const TestProblem& p,
                          const ExecutionContext& context) {
  const auto& [q, k, v, out, lse] = reference;
  double max_q = 0, max_k = 0, max_v = 0;
  for (std::int64_t i = 0; i < q.numel(); ++i) max_q = std::max(max_q, std::fabs(q.get(i)));
  for (std::int64_t i = 0; i < k.numel(); ++i) max_k = std::max(max_k, std::fabs(k.get(i)));
  for (std::int64_t i = 0; i < v.numel(); ++i) max_v = std::max(max_v, std::fabs(v.get(i)));
  const double scale = p.options.scale ? std::fabs(static_cast<double>(*p.options.scale))
                                       : 1 / std::sqrt(static_cast<double>(p.sizes.head_dim));
  const double spread = scale * max_q * max_k * std::sqrt(static_cast<double>(p.sizes.head_dim));
  const bool rounds_p =
      flash_forward_level(context.isa(), p.q.dtype, p.k.dtype) == Isa::kAvx512Bf16;
  const double u = 0x1p-24, p_u = rounds_p ? 0x1p-8 : 0,
               output_u = p.out.dtype == DType::kF32   ? 0
                          : p.out.dtype == DType::kF16 ? 0x1p-11
                                                       : 0x1p-8;
  const double gate = (8 * u * (1 + spread) + 2 * output_u + p_u) * max_v + 1e-30;
  double worst = 0;
  for (std::int64_t b = 0; b < p.sizes.batch; ++b) {
    for (std::int64_t i = 0; i < p.sizes.q_len; ++i) {
      for (std::int64_t h = 0; h < p.sizes.n_heads; ++h) {
        for (std::int64_t d = 0; d < p.sizes.v_dim; ++d) {
          const double error =
              std::fabs(p.out.get(p.out.index(b, i, h, d)) - out.get(out.index(b, i, h, d)));
          worst = std::isnan(error) ? INFINITY : std::max(worst, error);
        }
      }
    }
  }
  EXPECT_LE(worst, gate);
  for (std::size_t i = 0; i < lse.size(); ++i) {
    if (std::isinf(lse[i])) {
      EXPECT_EQ(p.lse[i], lse[i]);
    } else {
      EXPECT_NEAR(
          p.lse[i], lse[i],
          (rounds_p ? 1e-5 : 4 * 0x1p-23) * std::max(1.0f, std::fabs(lse[i])) + 8 * u * spread);
    }
  }
}

inline void check_against_reference(TestProblem& p, const ExecutionContext& context) {
  check_against(Reference(p), p, context);
}

inline bool same_bits(const TestTensor& a, const TestTensor& b) { return a.bytes == b.bytes; }
inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * 4) == 0);
}

}  // namespace raptly::attention_testing
