// One canonical row (docs/numerics.md): the bits of a query do not depend on how they were
// computed.
#include <gtest/gtest.h>

#include <string>

#include "kernels/flash_forward/forward_test_case.h"

namespace raptly::testing {
namespace {

ForwardCase base_case(int kind) {
  ForwardCase c;
  c.seed = static_cast<std::uint64_t>(kind) + 100;
  switch (kind) {
    case 0:  // several splits, causal, grouped heads
      c.q_len = 22, c.kv_len = 2100, c.n_heads = 6, c.n_kv_heads = 2, c.head_dim = 64, c.v_dim = 64;
      c.mask = Mask::parse("causal");
      break;
    case 1:  // odd dims, a window that starts inside blocks
      c.q_len = 130, c.kv_len = 700, c.n_heads = 3, c.n_kv_heads = 3, c.head_dim = 19, c.v_dim = 37;
      c.mask = Mask::parse("causal & window(150, 0)");
      break;
    case 2:  // scores far apart
      c.q_len = 33, c.kv_len = 1500, c.n_heads = 5, c.n_kv_heads = 1, c.head_dim = 80, c.v_dim = 48;
      c.q_amplitude = 3, c.k_amplitude = 6;
      break;
    case 3:  // softcap, both sides of the window
      c.q_len = 90, c.kv_len = 1100, c.n_heads = 4, c.n_kv_heads = 4, c.head_dim = 32, c.v_dim = 32;
      c.softcap = 3, c.k_amplitude = 3;
      c.mask = Mask::parse("window(300, 200)");
      break;
    case 4:  // more heads on a key head than a panel has lanes
      c.q_len = 3, c.kv_len = 260, c.n_heads = 71, c.n_kv_heads = 1, c.head_dim = 64, c.v_dim = 64;
      c.mask = Mask::parse("causal");
      break;
    default:  // some queries see nothing
      c.q_len = 40, c.kv_len = 25, c.n_heads = 2, c.n_kv_heads = 1, c.head_dim = 16, c.v_dim = 16;
      c.mask = Mask::parse("causal");
  }
  return c;
}
constexpr int kCases = 6;

std::string describe(const ForwardCase& c, Isa isa) {
  return "seed " + std::to_string(c.seed) + ", " + dtype_name(c.kv_dtype) + ", " + isa_name(isa);
}

class ForwardInvariance : public ::testing::TestWithParam<std::tuple<int, Dtypes>> {
 protected:
  static Dtypes dtypes() { return std::get<1>(GetParam()); }
  ForwardCase problem() const {
    ForwardCase c = base_case(std::get<0>(GetParam()));
    c.q_dtype = dtypes().q;
    c.kv_dtype = dtypes().kv;
    return c;
  }
};

TEST_P(ForwardInvariance, LevelsAgree) {
  ForwardData data(problem());
  const Outputs expected = run_prefill(data, Isa::kScalar);
  for (Isa isa : supported_isas()) {
    const bool same = count_different(expected, run_prefill(data, isa)) == 0;
    EXPECT_EQ(same, !dtypes().own_level(isa)) << describe(problem(), isa);
  }
}

TEST_P(ForwardInvariance, DecodeIsPrefill) {
  ForwardData data(problem());
  if (problem().group() > kMaxDecodeRows) return;
  for (Isa isa : supported_isas()) {
    const Outputs expected = run_prefill(data, isa);
    EXPECT_EQ(count_different(expected, run_decode(data, isa, 0)), 0) << describe(problem(), isa);
    if (isa == Isa::kScalar) continue;
    for (int queries : {1, 2, 3, 5}) {
      EXPECT_EQ(count_different(expected, run_decode(data, isa, queries)), 0)
          << describe(problem(), isa) << ", calls of " << queries;
    }
  }
}

TEST_P(ForwardInvariance, TilesAndItemsDoNotShow) {
  ForwardData data(problem());
  const Isa isa = best_isa();
  const Outputs expected = run_prefill(data, isa);
  for (int tile_queries : {1, 5, 16, 64}) {
    for (std::int64_t tiles : {1, 3, 50}) {
      EXPECT_EQ(count_different(expected, run_prefill(data, isa, tile_queries, tiles)), 0)
          << describe(problem(), isa) << ", tiles of " << tile_queries << ", items of " << tiles;
    }
  }
}

TEST_P(ForwardInvariance, PagesAndStridesDoNotShow) {
  const Isa isa = best_isa();
  ForwardData dense(problem());
  const Outputs expected = run_prefill(dense, isa);
  for (Layout layout : {Layout::kTokenMajor, Layout::kHeadMajor, Layout::kSparse}) {
    for (std::int64_t page : {0, 1, 7, 16, 100, 256}) {
      ForwardCase c = problem();
      c.layout = layout;
      c.page_size = page;
      ForwardData data(c);
      EXPECT_EQ(count_different(expected, run_prefill(data, isa)), 0)
          << describe(c, isa) << ", layout " << static_cast<int>(layout) << ", pages of " << page;
      if (c.group() > kMaxDecodeRows) continue;
      EXPECT_EQ(count_different(expected, run_decode(data, isa)), 0)
          << describe(c, isa) << ", layout " << static_cast<int>(layout) << ", decode, pages of "
          << page;
    }
  }
}

// Decoding takes blocks of few keys, whole sequences or their ends, on a path of their own.
TEST_P(ForwardInvariance, FewKeysDecodeToTheBitsOfPrefill) {
  if (problem().group() > kMaxDecodeRows) return;
  for (const std::int64_t kv_len : {1, 2, 3, 4, 5, 129, 131, 1028}) {
    for (const Layout layout : {Layout::kTokenMajor, Layout::kSparse}) {
      ForwardCase c = problem();
      c.kv_len = kv_len;
      c.q_len = 5;
      c.layout = layout;
      c.evict_from = kv_len > 2 ? kv_len - 2 : 0, c.evict_to = kv_len > 2 ? kv_len - 1 : 0;
      ForwardData data(c);
      for (Isa isa : supported_isas()) {
        const Outputs expected = run_prefill(data, isa);
        for (int queries : {0, 1, 2}) {
          EXPECT_EQ(count_different(expected, run_decode(data, isa, queries)), 0)
              << describe(c, isa) << ", " << kv_len << " keys, calls of " << queries;
        }
      }
    }
  }
}

// The same queries as the last of a longer call, and the same keys with more behind them.
TEST_P(ForwardInvariance, ChunksDoNotShow) {
  const ForwardCase c = problem();
  if (c.q_len > c.kv_len || c.mask.to_string().find("causal") == std::string::npos) return;
  const Isa isa = best_isa();
  ForwardData whole(c);
  const Outputs expected = run_prefill(whole, isa);
  for (std::int64_t first : {c.q_len / 3, c.q_len - 1}) {
    ForwardCase part = c;
    part.q_len = c.q_len - first;
    ForwardData data(part);
    for (std::int64_t t = 0; t < part.q_len; ++t) {
      for (int h = 0; h < c.n_heads; ++h) {
        for (int d = 0; d < c.head_dim; ++d) data.q.set(t, h, d, whole.q.value(first + t, h, d));
      }
    }
    data.k = whole.k;
    data.v = whole.v;
    const Outputs actual = run_prefill(data, isa);
    std::int64_t different = 0;
    for (std::size_t i = 0; i < actual.out.size(); ++i) {
      const std::size_t at = static_cast<std::size_t>(first * c.n_heads * c.v_dim) + i;
      different += !same_bits(actual.out[i], expected.out[at]);
    }
    EXPECT_EQ(different, 0) << describe(c, isa) << ", from query " << first;
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, ForwardInvariance,
                         ::testing::Combine(::testing::Range(0, kCases),
                                            ::testing::ValuesIn(kTestDtypes)));

}  // namespace
}  // namespace raptly::testing
