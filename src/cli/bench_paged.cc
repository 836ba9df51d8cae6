#include "cli/bench_paged.h"

#include <algorithm>
#include <random>

namespace raptly {
namespace {

std::int64_t pages_of(const BenchCase& c) {
  return c.batch * ((c.kv_len + c.page_size - 1) / c.page_size);
}

// Pages are taken in the order in which they came back.
void shuffle_pages(PagedCache& cache, std::int64_t n_pages) {
  std::vector<SequenceId> holders;
  const std::int64_t one = 1;
  for (std::int64_t i = 0; i < n_pages; ++i) {
    holders.push_back(cache.add_sequence());
    cache.extend({&holders.back(), 1}, {&one, 1});
  }
  std::shuffle(holders.begin(), holders.end(), std::mt19937(1));
  for (const SequenceId holder : holders) cache.remove(holder);
}

// [rows of all batch entries, heads, dim] of [batch, rows, heads, dim], token-major.
TensorShape packed(const TensorShape& shape) {
  const std::int64_t sizes[] = {shape.size(0) * shape.size(1), shape.size(2), shape.size(3)};
  return TensorShape(sizes);
}

}  // namespace

BenchPagedCache::BenchPagedCache(const BenchCase& c, const AttentionOptions& options)
    : case_(c),
      cache_({.n_kv_heads = c.n_kv_heads, .head_dim = c.head_dim, .dtype = c.kv_dtype},
             {.n_pages = pages_of(c), .page_size = c.page_size}),
      q_lengths_(static_cast<std::size_t>(c.batch), c.q_len) {
  static_cast<AttentionOptions&>(options_) = options;
  shuffle_pages(cache_, pages_of(c));
  const BenchTensors numbers(c, true);
  const std::int64_t row = c.n_kv_heads * c.head_dim;
  for (std::int64_t b = 0; b < c.batch; ++b) {
    sequences_.push_back(cache_.add_sequence());
    cache_.extend({&sequences_.back(), 1}, {&c.kv_len, 1});
    const std::int64_t at = b * c.kv_len * row;
    cache_.write(sequences_.back(), 0, 0, c.kv_len, numbers.k().as<float>() + at, row,
                 numbers.v().as<float>() + at, row);
  }
}

void BenchPagedCache::run(const BenchTensors& data, ExecutionContext& context) {
  const TensorView q(data.q().data(), data.q().dtype(), packed(data.q().shape()));
  const MutableTensorView out(data.out().data(), DType::kF32, packed(data.out().shape()));
  attention_with_cache(q, {}, {}, out, cache_, {.sequences = sequences_, .lengths = q_lengths_},
                       options_, {}, context);
}

}  // namespace raptly
