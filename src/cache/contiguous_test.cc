#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "raptly/cache.h"
#include "raptly/error.h"
#include "raptly/kv_view.h"

namespace raptly {
namespace {

constexpr CacheShape kShape{.n_layers = 2, .n_kv_heads = 3, .head_dim = 5, .v_dim = 4};

float key_value(std::int64_t layer, std::int64_t token, std::int64_t head, std::int64_t d,
                bool value) {
  return static_cast<float>(layer * 1000 + token * 100 + head * 10 + d) * (value ? -1.0f : 1.0f);
}

void append(KvCache& cache, SequenceId s, std::int64_t n) {
  const std::int64_t first = cache.length(s);
  cache.extend({&s, 1}, {&n, 1});
  for (std::int64_t layer = 0; layer < kShape.n_layers; ++layer) {
    std::vector<float> k, v;
    for (std::int64_t t = first; t < first + n; ++t) {
      for (std::int64_t h = 0; h < kShape.n_kv_heads; ++h) {
        for (std::int64_t d = 0; d < kShape.head_dim; ++d)
          k.push_back(key_value(layer, t, h, d, false));
        for (std::int64_t d = 0; d < kShape.v_dim; ++d)
          v.push_back(key_value(layer, t, h, d, true));
      }
    }
    cache.write(s, layer, first, n, k.data(), kShape.n_kv_heads * kShape.head_dim, v.data(),
                kShape.n_kv_heads * kShape.v_dim);
  }
}

void check_contents(const KvCache& cache, SequenceId s, std::int64_t n) {
  ASSERT_EQ(cache.length(s), n);
  for (std::int64_t layer = 0; layer < kShape.n_layers; ++layer) {
    const KvView view = cache.view(s, layer);
    ASSERT_EQ(view.length, n);
    ASSERT_EQ(view.runs.size(), n > 0 ? 1u : 0u);
    for (std::int64_t t = 0; t < n; ++t) {
      for (std::int64_t h = 0; h < kShape.n_kv_heads; ++h) {
        const auto* k = static_cast<const float*>(view.runs[0].k) + t * view.k_token_stride +
                        h * view.k_head_stride;
        const auto* v = static_cast<const float*>(view.runs[0].v) + t * view.v_token_stride +
                        h * view.v_head_stride;
        for (std::int64_t d = 0; d < kShape.head_dim; ++d)
          ASSERT_EQ(k[d], key_value(layer, t, h, d, false));
        for (std::int64_t d = 0; d < kShape.v_dim; ++d)
          ASSERT_EQ(v[d], key_value(layer, t, h, d, true));
      }
    }
  }
}

void expect_error(ErrorCode code, const std::string& part, const std::function<void()>& call) {
  try {
    call();
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code);
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

TEST(ContiguousCache, KeepsWhatIsWritten) {
  ContiguousCache cache(kShape, 20);
  const SequenceId a = cache.add_sequence(), b = cache.add_sequence();
  check_contents(cache, a, 0);
  append(cache, a, 7);
  append(cache, b, 20);
  append(cache, a, 1);
  check_contents(cache, a, 8);
  check_contents(cache, b, 20);
  EXPECT_EQ(cache.nbytes(), 2u * 2 * 3 * 9 * 20 * 4);
}

TEST(ContiguousCache, ForkGoesItsOwnWay) {
  ContiguousCache cache(kShape, 20);
  const SequenceId a = cache.add_sequence();
  append(cache, a, 9);
  const SequenceId b = cache.fork(a);
  append(cache, b, 3);
  cache.truncate(a, 4);
  check_contents(cache, a, 4);
  check_contents(cache, b, 12);
  cache.remove(a);
  check_contents(cache, b, 12);
}

TEST(ContiguousCache, RoundsToStorage) {
  for (const DType dtype : {DType::kF16, DType::kBf16}) {
    CacheShape shape{.n_layers = 1, .n_kv_heads = 1, .head_dim = 9, .v_dim = 0, .dtype = dtype};
    ContiguousCache cache(shape, 4);
    const SequenceId s = cache.add_sequence();
    const std::int64_t n = 1;
    cache.extend({&s, 1}, {&n, 1});
    std::vector<float> row(9);
    for (int i = 0; i < 9; ++i) row[static_cast<std::size_t>(i)] = 1.0f / static_cast<float>(3 + i);
    cache.write(s, 0, 0, 1, row.data(), 9, row.data(), 9);
    const KvView view = cache.view(s, 0);
    for (std::size_t i = 0; i < 9; ++i) {
      const auto bits = static_cast<const std::uint16_t*>(view.runs[0].v)[i];
      EXPECT_EQ(bits, dtype == DType::kF16 ? to_f16(row[i]).bits : to_bf16(row[i]).bits);
    }
  }
}

TEST(ContiguousCache, FailedCallsChangeNothing) {
  ContiguousCache cache(kShape, 10);
  const SequenceId a = cache.add_sequence(), b = cache.add_sequence();
  append(cache, a, 6);
  append(cache, b, 8);
  const std::vector<SequenceId> both = {a, b}, twice = {a, a}, unknown = {a, 99};
  const std::vector<std::int64_t> lengths = {2, 3}, negative = {1, -1}, one = {1};
  expect_error(ErrorCode::kContextFull, "holds 8 tokens and should take 3 more. Its capacity is 10",
               [&] { cache.extend(both, lengths); });
  expect_error(ErrorCode::kContextFull, "should take 3 more",
               [&] { cache.extend(twice, lengths); });
  expect_error(ErrorCode::kNotFound, "sequence 99", [&] { cache.extend(unknown, lengths); });
  expect_error(ErrorCode::kInvalidArgument, "-1", [&] { cache.extend(both, negative); });
  expect_error(ErrorCode::kInvalidArgument, "2 sequences but 1 lengths",
               [&] { cache.extend(both, one); });
  expect_error(ErrorCode::kInvalidArgument, "truncate to 7", [&] { cache.truncate(a, 7); });
  expect_error(ErrorCode::kInvalidArgument, "layer is 2",
               [&] { static_cast<void>(cache.view(a, 2)); });
  expect_error(ErrorCode::kNotFound, "sequence 5", [&] { cache.remove(5); });
  expect_error(ErrorCode::kNotFound, "sequence 5", [&] { cache.fork(5); });
  check_contents(cache, a, 6);
  check_contents(cache, b, 8);
}

TEST(ContiguousCache, RefusesBadShapes) {
  const auto make = [](CacheShape shape, std::int64_t capacity) {
    ContiguousCache cache(shape, capacity);
  };
  expect_error(ErrorCode::kInvalidArgument, "head_dim is 0",
               [&] { make({.n_layers = 1, .n_kv_heads = 1, .head_dim = 0}, 4); });
  expect_error(ErrorCode::kInvalidArgument, "capacity is 0", [&] { make(kShape, 0); });
  expect_error(ErrorCode::kInvalidArgument, "dtype is f64", [&] {
    make({.n_layers = 1, .n_kv_heads = 1, .head_dim = 4, .v_dim = 0, .dtype = DType::kF64}, 4);
  });
  expect_error(ErrorCode::kOutOfMemory, "bytes", [&] {
    ContiguousCache cache({.n_layers = 1 << 20, .n_kv_heads = 1 << 20, .head_dim = 1 << 20},
                          1 << 20);
  });
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
  for (const std::int64_t n : {3, 96, 1, 1, 200}) append(cache, s, n);
  check_contents(cache, s, 301);
  const SequenceId forked = cache.fork(s);
  cache.truncate(s, 2);
  append(cache, s, 200);
  check_contents(cache, s, 202);
  check_contents(cache, forked, 301);
}

}  // namespace
}  // namespace raptly
