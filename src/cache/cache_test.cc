// The common contract, for every cache.
#include <memory>

#include "cache/test_cache.h"

namespace raptly {
namespace {

using namespace cache_testing;  // NOLINT: the room's own test helpers

struct Contiguous {
  static std::unique_ptr<KvCache> make(const CacheShape& shape) {
    return std::make_unique<ContiguousCache>(shape, 60);
  }
};
struct Rolling {
  static std::unique_ptr<KvCache> make(const CacheShape& shape) {
    return std::make_unique<RollingCache>(shape,
                                          RollingOptions{.window = 50, .slack = 6, .n_sinks = 4});
  }
};
struct Paged {
  static std::unique_ptr<KvCache> make(const CacheShape& shape) {
    return std::make_unique<PagedCache>(shape, PagedOptions{.n_pages = 24, .page_size = 12});
  }
};

template <class Kind>
class CommonContract : public testing::Test {
 protected:
  std::unique_ptr<KvCache> cache_ = Kind::make(kShape);
};
using Kinds = testing::Types<Contiguous, Rolling, Paged>;
TYPED_TEST_SUITE(CommonContract, Kinds);

TYPED_TEST(CommonContract, KeepsWhatIsWritten) {
  KvCache& cache = *this->cache_;
  const SequenceId a = cache.add_sequence(), b = cache.add_sequence();
  std::vector<Token> of_a, of_b;
  check_contents(cache, a, of_a);
  EXPECT_TRUE(cache.view(a, 0).runs.empty());
  append(cache, a, of_a, count_tokens(0, 17));
  append(cache, b, of_b, count_tokens(1000, 60));
  append(cache, a, of_a, count_tokens(500, 1));
  check_contents(cache, a, of_a);
  check_contents(cache, b, of_b);
  EXPECT_GE(cache.max_chunk(a), 42);
  EXPECT_EQ(cache.rollback_point(a, 3), 3);
}

TYPED_TEST(CommonContract, ExtendsManySequencesAtOnce) {
  KvCache& cache = *this->cache_;
  std::vector<SequenceId> ids;
  std::vector<std::vector<Token>> histories;
  std::vector<std::int64_t> lengths;
  std::vector<Token> tokens;
  for (Token i = 0; i < 5; ++i) {
    ids.push_back(cache.add_sequence());
    lengths.push_back(i * 9);
    histories.push_back(count_tokens(i * 100, i * 9));
    tokens.insert(tokens.end(), histories.back().begin(), histories.back().end());
  }
  cache.extend(ids, lengths, tokens);
  for (std::size_t i = 0; i < ids.size(); ++i) write_tokens(cache, ids[i], histories[i], 0);
  for (std::size_t i = 0; i < ids.size(); ++i) check_contents(cache, ids[i], histories[i]);
  // The same sequence twice grows twice.
  const std::vector<SequenceId> twice = {ids[0], ids[1], ids[0]};
  const std::vector<std::int64_t> more = {2, 1, 3};
  cache.extend(twice, more);
  EXPECT_EQ(cache.length(ids[0]), 5);
  EXPECT_EQ(cache.length(ids[1]), 10);
}

TYPED_TEST(CommonContract, ForkGoesItsOwnWay) {
  KvCache& cache = *this->cache_;
  const SequenceId a = cache.add_sequence();
  std::vector<Token> of_a;
  append(cache, a, of_a, count_tokens(0, 29));
  const SequenceId b = cache.fork(a);
  std::vector<Token> of_b = of_a;
  append(cache, b, of_b, count_tokens(300, 13));
  append(cache, a, of_a, count_tokens(600, 2));
  check_contents(cache, a, of_a);
  check_contents(cache, b, of_b);
  cache.truncate(a, 14);
  of_a.resize(14);
  append(cache, a, of_a, count_tokens(900, 3));
  check_contents(cache, a, of_a);
  check_contents(cache, b, of_b);
  cache.remove(a);
  check_contents(cache, b, of_b);
}

TYPED_TEST(CommonContract, ReadsRowsThroughStrides) {
  KvCache& cache = *this->cache_;
  const SequenceId s = cache.add_sequence();
  const std::int64_t n = 2;
  cache.extend({&s, 1}, {&n, 1});
  std::vector<float> rows(2 * 64, -1);
  for (int i = 0; i < 15; ++i) {
    rows[static_cast<std::size_t>(i)] = static_cast<float>(i);
    rows[static_cast<std::size_t>(64 + i)] = static_cast<float>(100 + i);
  }
  cache.write(s, 1, 0, 2, rows.data(), 64, rows.data(), 64);
  const KvView view = cache.view(s, 1);
  const auto* k = static_cast<const float*>(view.runs[0].k);
  const auto* v = static_cast<const float*>(view.runs[0].v);
  EXPECT_EQ(k[view.k_token_stride + view.k_head_stride + 3], 108);
  EXPECT_EQ(v[view.v_token_stride + 2 * view.v_head_stride + 3], 111);
}

TYPED_TEST(CommonContract, RoundsToStorage) {
  for (const DType dtype : {DType::kF16, DType::kBf16}) {
    const std::unique_ptr<KvCache> cache = TypeParam::make(
        {.n_layers = 1, .n_kv_heads = 1, .head_dim = 9, .v_dim = 0, .dtype = dtype});
    const SequenceId s = cache->add_sequence();
    const std::int64_t n = 1;
    cache->extend({&s, 1}, {&n, 1});
    std::vector<float> row(9);
    for (int i = 0; i < 9; ++i) row[static_cast<std::size_t>(i)] = 1.0f / static_cast<float>(3 + i);
    cache->write(s, 0, 0, 1, row.data(), 9, row.data(), 9);
    const KvView view = cache->view(s, 0);
    EXPECT_EQ(view.dtype, dtype);
    for (std::size_t i = 0; i < 9; ++i) {
      const auto bits = static_cast<const std::uint16_t*>(view.runs[0].v)[i];
      EXPECT_EQ(bits, dtype == DType::kF16 ? to_f16(row[i]).bits : to_bf16(row[i]).bits);
    }
  }
}

TYPED_TEST(CommonContract, FailedCallsChangeNothing) {
  KvCache& cache = *this->cache_;
  const SequenceId a = cache.add_sequence(), b = cache.add_sequence();
  std::vector<Token> of_a, of_b;
  append(cache, a, of_a, count_tokens(0, 6));
  append(cache, b, of_b, count_tokens(40, 60));
  const std::vector<SequenceId> both = {a, b}, unknown = {a, 99};
  const std::vector<std::int64_t> huge = {2, std::int64_t{1} << 62}, small = {2, 3}, one = {1},
                                  negative = {1, -1};
  const std::vector<Token> three = {1, 2, 3};
  const auto fails = [&](ErrorCode code, const std::string& part, auto call) {
    expect_error(code, part, call);
    check_contents(cache, a, of_a);
    check_contents(cache, b, of_b);
  };
  EXPECT_THROW(cache.extend(both, huge), Error);
  EXPECT_THROW(cache.extend(std::vector<SequenceId>{a, a, a},
                            std::vector<std::int64_t>(3, std::int64_t{1} << 62)),
               Error);
  fails(ErrorCode::kNotFound, "sequence 99 is not in the cache",
        [&] { cache.extend(unknown, small); });
  fails(ErrorCode::kInvalidArgument, "-1", [&] { cache.extend(both, negative); });
  fails(ErrorCode::kInvalidArgument, "2 sequences but 1 lengths", [&] { cache.extend(both, one); });
  fails(ErrorCode::kInvalidArgument, "3 tokens were given for lengths that add up to 5",
        [&] { cache.extend(both, small, three); });
  fails(ErrorCode::kInvalidArgument, "truncate to 7", [&] { cache.truncate(a, 7); });
  fails(ErrorCode::kInvalidArgument, "truncate to -1", [&] { cache.truncate(a, -1); });
  fails(ErrorCode::kInvalidArgument, "layer is 2", [&] { static_cast<void>(cache.view(a, 2)); });
  fails(ErrorCode::kInvalidArgument, "layer is -1", [&] { static_cast<void>(cache.view(a, -1)); });
  fails(ErrorCode::kNotFound, "sequence 5", [&] { cache.remove(5); });
  fails(ErrorCode::kNotFound, "sequence 5", [&] { cache.fork(5); });
  fails(ErrorCode::kNotFound, "sequence -1", [&] { cache.truncate(-1, 0); });
  fails(ErrorCode::kNotFound, "sequence 5", [&] { static_cast<void>(cache.length(5)); });
  fails(ErrorCode::kNotFound, "sequence 5", [&] { static_cast<void>(cache.view(5, 0)); });
  fails(ErrorCode::kNotFound, "sequence 5", [&] { static_cast<void>(cache.max_chunk(5)); });
}

TYPED_TEST(CommonContract, RefusesBadShapes) {
  expect_error(ErrorCode::kInvalidArgument, "head_dim is 0",
               [] { TypeParam::make({.n_layers = 1, .n_kv_heads = 1, .head_dim = 0}); });
  expect_error(ErrorCode::kInvalidArgument, "n_layers is 0",
               [] { TypeParam::make({.n_layers = 0, .n_kv_heads = 1, .head_dim = 1}); });
  expect_error(ErrorCode::kInvalidArgument, "dtype is f64", [] {
    TypeParam::make(
        {.n_layers = 1, .n_kv_heads = 1, .head_dim = 4, .v_dim = 0, .dtype = DType::kF64});
  });
  expect_error(ErrorCode::kOutOfMemory, "bytes", [] {
    TypeParam::make({.n_layers = 1 << 20, .n_kv_heads = 1 << 20, .head_dim = 1 << 20});
  });
}

TYPED_TEST(CommonContract, CountsItsBytes) {
  KvCache& cache = *this->cache_;
  const SequenceId s = cache.add_sequence();
  std::vector<Token> history;
  append(cache, s, history, count_tokens(0, 21));
  const CacheStats stats = cache.stats();
  EXPECT_LE(stats.bytes_used, cache.nbytes());
  EXPECT_EQ(stats.bytes_used - stats.bytes_wasted, 21u * 2 * 3 * 9 * 4);
  cache.remove(s);
  EXPECT_EQ(cache.stats().bytes_used, 0u);
}

}  // namespace
}  // namespace raptly
