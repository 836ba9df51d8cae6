// Tensors in any layout: the bits of dense ones.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <array>
#include <bit>
#include <cstring>
#include <numeric>

#include "attention/random_problem.h"
#include "raptly/error.h"

namespace raptly {
namespace {

using namespace attention_testing;

using Repeated = std::array<bool, 4>;  // of a dimension: stride 0

// A [a, b, c, d] tensor whose dimensions lie in any order in memory, forwards or backwards, with
// holes of NaN between.
class Strided {
 public:
  Strided(const TestTensor& t, const Repeated& repeated) : dtype_(t.dtype) {
    std::array<int, 4> order;
    std::iota(order.begin(), order.end(), 0);
    for (std::size_t i = 3; i > 0; --i) {
      std::swap(order[i], order[static_cast<std::size_t>(number(0, static_cast<int>(i)))]);
    }
    std::array<std::int64_t, 4> sizes, strides;
    std::int64_t step = number(1, 3);
    for (const int d : order) {
      const auto at = static_cast<std::size_t>(d);
      sizes[at] = t.shape.size(d);
      if (repeated[at]) {
        strides[at] = 0;
        continue;
      }
      const bool backwards = number(0, 1) == 0;
      strides[at] = backwards ? -step : step;
      if (backwards) first_ += (sizes[at] - 1) * step;
      last_ += (sizes[at] - 1) * step;
      step = sizes[at] * step + number(0, 2);
    }
    shape_ = TensorShape(sizes, strides);
    bytes_.resize(static_cast<std::size_t>(last_ + 1) * dtype_size(dtype_), std::byte{0xff});
    each(t, [&](std::int64_t from, std::int64_t to) {
      const std::size_t n = dtype_size(dtype_);
      std::memcpy(&bytes_[static_cast<std::size_t>(to) * n],
                  &t.bytes[static_cast<std::size_t>(from) * n], n);
    });
  }
  MutableTensorView view() {
    return {bytes_.data() + static_cast<std::size_t>(first_) * dtype_size(dtype_), dtype_, shape_};
  }
  // use(index in t, index here)
  template <class Use>
  void each(const TestTensor& t, Use&& use) const {
    for (std::int64_t a = 0; a < t.shape.size(0); ++a) {
      for (std::int64_t b = 0; b < t.shape.size(1); ++b) {
        for (std::int64_t c = 0; c < t.shape.size(2); ++c) {
          for (std::int64_t d = 0; d < t.shape.size(3); ++d) {
            use(t.index(a, b, c, d), first_ + a * shape_.stride(0) + b * shape_.stride(1) +
                                         c * shape_.stride(2) + d * shape_.stride(3));
          }
        }
      }
    }
  }
  float value(std::int64_t at) const {
    float x;
    std::memcpy(&x, &bytes_[static_cast<std::size_t>(at) * 4], 4);
    return x;
  }

 private:
  DType dtype_;
  TensorShape shape_;
  std::int64_t first_ = 0, last_ = 0;  // elements: where [0, 0, 0, 0] is, and the last in memory
  std::vector<std::byte> bytes_;
};

// Some dimensions, and the tensor the same along them.
Repeated repeat_some(TestTensor& t) {
  Repeated repeated;
  for (bool& r : repeated) r = number(0, 3) == 0;
  for (std::int64_t a = 0; a < t.shape.size(0); ++a) {
    for (std::int64_t b = 0; b < t.shape.size(1); ++b) {
      for (std::int64_t c = 0; c < t.shape.size(2); ++c) {
        for (std::int64_t d = 0; d < t.shape.size(3); ++d) {
          t.set(t.index(a, b, c, d), t.get(t.index(repeated[0] ? 0 : a, repeated[1] ? 0 : b,
                                                   repeated[2] ? 0 : c, repeated[3] ? 0 : d)));
        }
      }
    }
  }
  return repeated;
}

RC_GTEST_PROP(Strides, AnyLayoutHasTheBitsOfADenseOne, ()) {
  TestProblem dense = random_masked_problem();
  const Repeated rq = repeat_some(dense.q), rk = repeat_some(dense.k), rv = repeat_some(dense.v);
  Strided q(dense.q, rq), k(dense.k, rk), v(dense.v, rv), out(dense.out, {});
  const Sizes& s = dense.sizes;
  TestTensor lse_of(DType::kF32, {1, s.batch, s.n_heads, s.q_len});
  Strided lse(lse_of, {});
  const TensorShape in = lse.view().shape();
  const std::int64_t sizes[] = {s.batch, s.n_heads, s.q_len};
  const std::int64_t strides[] = {in.stride(1), in.stride(2), in.stride(3)};
  dense.run(default_context());
  attention(q.view(), k.view(), v.view(), out.view(), dense.options,
            {lse.view().data(), DType::kF32, TensorShape(sizes, strides)});
  const auto bits = [](float x) { return std::bit_cast<std::uint32_t>(x); };
  out.each(dense.out, [&](std::int64_t from, std::int64_t to) {
    RC_ASSERT(bits(out.value(to)) == bits(static_cast<float>(dense.out.get(from))));
  });
  lse.each(lse_of, [&](std::int64_t from, std::int64_t to) {
    RC_ASSERT(bits(lse.value(to)) == bits(dense.lse[static_cast<std::size_t>(from)]));
  });
}

// q, k and v as views of one buffer, as a fused projection leaves them.
TEST(Strides, PackedProjectionsAreViews) {
  constexpr std::int64_t kBatchSize = 2, kLen = 70, kQ = 4, kKv = 2, kDim = 24;
  constexpr std::int64_t kAll = kQ + 2 * kKv;
  for (const DType dtype : {DType::kF32, DType::kBf16, DType::kF16}) {
    for (const bool sequence_first : {false, true}) {
      TestTensor fused(dtype, {kBatchSize, kLen, kAll, kDim});
      std::mt19937 random(4);
      fused.fill(random);
      const auto part = [&](std::int64_t first, std::int64_t n) {
        const std::int64_t sizes[] = {kBatchSize, kLen, n, kDim};
        const std::int64_t row = kAll * kDim;
        const std::int64_t strides[] = {sequence_first ? row : kLen * row,
                                        sequence_first ? kBatchSize * row : row, kDim, 1};
        return TensorView(
            fused.bytes.data() + static_cast<std::size_t>(first * kDim) * dtype_size(dtype), dtype,
            TensorShape(sizes, strides));
      };
      TestProblem dense({kBatchSize, kLen, kLen, kQ, kKv, kDim, kDim}, dtype, dtype, 1);
      dense.options.mask = mask::causal();
      const auto copy = [&](const TensorView& from, TestTensor& to) {
        for (std::int64_t b = 0; b < kBatchSize; ++b) {
          for (std::int64_t t = 0; t < kLen; ++t) {
            const auto size = dtype_size(dtype);
            const auto* row =
                static_cast<const std::byte*>(from.data()) +
                static_cast<std::size_t>(b * from.stride(0) + t * from.stride(1)) * size;
            std::memcpy(&to.bytes[static_cast<std::size_t>(to.index(b, t, 0, 0)) * size], row,
                        static_cast<std::size_t>(from.size(2) * kDim) * size);
          }
        }
      };
      copy(part(0, kQ), dense.q);
      copy(part(kQ, kKv), dense.k);
      copy(part(kQ + kKv, kKv), dense.v);
      TestTensor out = dense.out;
      dense.run(default_context());
      attention(part(0, kQ), part(kQ, kKv), part(kQ + kKv, kKv), out.view(), dense.options);
      EXPECT_TRUE(same_bits(dense.out, out)) << dtype_name(dtype) << sequence_first;
    }
  }
}

}  // namespace
}  // namespace raptly
