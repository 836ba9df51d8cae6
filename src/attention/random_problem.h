// Random problems under random masks, for property tests.
#pragma once

#include <vector>

#include "attention/test_problem.h"
#include "mask/random_mask.h"

namespace raptly::attention_testing {

using mask_testing::kBatch;
using mask_testing::kHeads;
using mask_testing::number;

// Decode for q_len up to 16 / group, prefill above; heads of a group that see different pairs.
inline Sizes random_sizes() {
  constexpr std::int64_t kKvHeads[] = {1, 2, 4};
  const std::int64_t q_len = number(0, 2) == 0 ? number(1, 8) : number(1, 140);
  return {kBatch,       q_len,       number(1, 400), kHeads, kKvHeads[number(0, 2)],
          number(1, 9), number(1, 9)};
}

inline MaskScope scope_of(const Sizes& s) { return bottom_right_scope(s.q_len, s.kv_len, 0, 0); }

// f32 queries over any cache, permuted or not, no mask.
inline TestProblem random_problem(const Sizes& sizes) {
  constexpr DType kDTypes[] = {DType::kF32, DType::kBf16, DType::kF16};
  return {sizes, DType::kF32, kDTypes[number(0, 2)], static_cast<unsigned>(number(0, 1000)),
          number(0, 1) == 0};
}

inline TestProblem random_masked_problem() {
  const Sizes sizes = random_sizes();
  TestProblem p = random_problem(sizes);
  p.options.mask = mask_testing::random_mask(scope_of(sizes));
  return p;
}

// Which pairs a mask shows, [batch][n_heads][q_len][kv_len].
class SeenPairs {
 public:
  SeenPairs(const Mask& mask, const Sizes& sizes) : sizes_(sizes) {
    for (std::int64_t b = 0; b < sizes.batch; ++b) {
      for (std::int64_t h = 0; h < sizes.n_heads; ++h) {
        const auto pairs = mask.materialize(sizes.q_len, sizes.kv_len, b, h);
        seen_.insert(seen_.end(), pairs.begin(), pairs.end());
      }
    }
  }
  bool operator()(std::int64_t b, std::int64_t h, std::int64_t i, std::int64_t j) const {
    return seen_[static_cast<std::size_t>(
               ((b * sizes_.n_heads + h) * sizes_.q_len + i) * sizes_.kv_len + j)] != 0;
  }

 private:
  Sizes sizes_;
  std::vector<std::uint8_t> seen_;
};

// Part of a problem: batch entries, queries and keys [first, first + n).
struct Part {
  std::int64_t first_batch = 0, batch = 0, first_query = 0, q_len = 0, first_key = 0, kv_len = 0;
};
inline Part whole_of(const Sizes& s) { return {0, s.batch, 0, s.q_len, 0, s.kv_len}; }

// The pairs of a part as a dense mask.
inline Mask mask_of(const SeenPairs& seen, const Part& part) {
  std::vector<std::uint8_t> pairs;
  for (std::int64_t b = 0; b < part.batch; ++b) {
    for (std::int64_t h = 0; h < kHeads; ++h) {
      for (std::int64_t i = 0; i < part.q_len; ++i) {
        for (std::int64_t j = 0; j < part.kv_len; ++j) {
          pairs.push_back(
              seen(part.first_batch + b, h, part.first_query + i, part.first_key + j) ? 1 : 0);
        }
      }
    }
  }
  return mask::dense(pairs, {part.batch, kHeads, part.q_len, part.kv_len});
}

// Entries [first, first + n) and tokens [from, from + len) of a [batch, seq, heads, dim] tensor.
inline MutableTensorView slice(TestTensor& t, std::int64_t first, std::int64_t n, std::int64_t from,
                               std::int64_t len) {
  const std::int64_t sizes[] = {n, len, t.shape.size(2), t.shape.size(3)};
  const std::int64_t strides[] = {t.shape.stride(0), t.shape.stride(1), t.shape.stride(2),
                                  t.shape.stride(3)};
  return {
      t.bytes.data() + static_cast<std::size_t>(t.index(first, from, 0, 0)) * dtype_size(t.dtype),
      t.dtype, TensorShape(sizes, strides)};
}

// out and lse of a part, attended to in a call of its own under a dense mask of its pairs. They go
// to the places that they have in p, so that p may be compared with the whole afterwards.
inline void run_part(TestProblem& p, const SeenPairs& seen, const Part& part) {
  const Sizes& s = p.sizes;
  AttentionOptions options = p.options;
  options.mask = mask_of(seen, part);
  const std::int64_t sizes[] = {part.batch, s.n_heads, part.q_len};
  const std::int64_t strides[] = {s.n_heads * s.q_len, s.q_len, 1};
  const MutableTensorView lse(
      p.lse.data() + part.first_batch * s.n_heads * s.q_len + part.first_query, DType::kF32,
      TensorShape(sizes, strides));
  const auto queries = [&](TestTensor& t) {
    return slice(t, part.first_batch, part.batch, part.first_query, part.q_len);
  };
  const auto keys = [&](TestTensor& t) {
    return slice(t, part.first_batch, part.batch, part.first_key, part.kv_len);
  };
  attention(queries(p.q), keys(p.k), keys(p.v), queries(p.out), options, lse);
}

}  // namespace raptly::attention_testing
