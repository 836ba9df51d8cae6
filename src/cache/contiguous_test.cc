#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "cache/test_cache.h"

namespace raptly {
namespace {

using namespace cache_testing;  // NOLINT: the room's own test helpers

TEST(ContiguousCache, IsFullAtItsCapacity) {
  ContiguousCache cache(kShape, 10);
  const SequenceId a = cache.add_sequence(), b = cache.add_sequence();
  std::vector<Token> of_a, of_b;
  append(cache, a, of_a, count_tokens(0, 6));
  append(cache, b, of_b, count_tokens(0, 8));
  EXPECT_EQ(cache.nbytes(), 2u * 2 * 3 * 9 * 10 * 4);
  const std::vector<SequenceId> both = {a, b}, twice = {a, a};
  const std::vector<std::int64_t> lengths = {2, 3};
  expect_error(ErrorCode::kContextFull, "holds 8 tokens and should take 3 more. Its capacity is 10",
               [&] { cache.extend(both, lengths); });
  expect_error(ErrorCode::kContextFull, "holds 6 tokens and should take 5 more",
               [&] { cache.extend(twice, lengths); });
  check_contents(cache, a, of_a);
  check_contents(cache, b, of_b);
  expect_error(ErrorCode::kInvalidArgument, "capacity is 0",
               [] { ContiguousCache made(kShape, 0); });
}
// A short sequence in a large cache does not keep the memory of a long one.
TEST(ContiguousCache, MemoryGrowsWithUse) {
  constexpr CacheShape kLarge{.n_layers = 8, .n_kv_heads = 4, .head_dim = 64, .dtype = DType::kF16};
  ContiguousCache cache(kLarge, 8192);  // 64 MiB, 1 MiB a head
  const SequenceId s = cache.add_sequence();
  const std::int64_t n = 4;
  cache.extend({&s, 1}, {&n, 1});
  const std::vector<float> rows(4 * 4 * 64, 1.0f);
  for (std::int64_t layer = 0; layer < kLarge.n_layers; ++layer) {
    cache.write(s, layer, 0, n, rows.data(), 4 * 64, rows.data(), 4 * 64);
  }
  const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<std::uintptr_t>(cache.view(s, 0).runs[0].k) / page * page;
  std::vector<unsigned char> pages((cache.nbytes() + page - 1) / page);
  ASSERT_EQ(mincore(reinterpret_cast<void*>(begin), cache.nbytes(), pages.data()), 0);
  const auto resident = std::count_if(pages.begin(), pages.end(), [](auto p) { return p & 1; });
  EXPECT_GE(resident, 8 * 4 * 2 / 16);
  EXPECT_LE(resident, static_cast<std::ptrdiff_t>(pages.size() / 8));
}

// The move to other pages at a quarter of the capacity leaves every value in place.
TEST(ContiguousCache, KeepsItsValuesAsItGrows) {
  ContiguousCache cache(kShape, 400);
  const SequenceId s = cache.add_sequence();
  std::vector<Token> history;
  for (const std::int64_t n : {3, 96, 1, 1, 200}) append(cache, s, history, count_tokens(7, n));
  check_contents(cache, s, history);
  const SequenceId forked = cache.fork(s);
  std::vector<Token> shorter(history.begin(), history.begin() + 2);
  cache.truncate(s, 2);
  append(cache, s, shorter, count_tokens(900, 200));
  check_contents(cache, s, shorter);
  check_contents(cache, forked, history);
}
}  // namespace
}  // namespace raptly
