// What is masked, padded or evicted reaches nothing, NaN and infinity included; what is visible
// reaches its own rows only.
#include <gtest/gtest.h>

#include <cmath>

#include "kernels/flash_forward/forward_test_case.h"

namespace raptly::testing {
namespace {

ForwardCase small_case(const Dtypes& dtypes) {
  ForwardCase c;
  c.q_len = 40, c.kv_len = 300;
  c.n_heads = 4, c.n_kv_heads = 2;
  c.head_dim = 24, c.v_dim = 40;
  c.q_dtype = dtypes.q;
  c.kv_dtype = dtypes.kv;
  c.mask = Mask::parse("causal & window(90, 0)");
  return c;
}

// Bits of the rows that do not see `key` (or all rows if it is -1) are those of `clean`.
void expect_rows_clean(const ForwardCase& c, const Outputs& clean, const Outputs& actual,
                       std::int64_t key, const char* what) {
  const MaskPredicate sees(c.mask, c.scope());
  int touched = 0, untouched = 0;
  for (std::int64_t t = 0; t < c.q_len; ++t) {
    for (int h = 0; h < c.n_heads; ++h) {
      const std::size_t at = static_cast<std::size_t>((t * c.n_heads + h) * c.v_dim);
      const std::size_t l = static_cast<std::size_t>(h * c.q_len + t);
      const bool own_head = h / c.group() == 0;  // the tests spoil key head 0
      if (key >= 0 && own_head && sees(t, key)) {
        ++touched;
        bool any_nan = std::isnan(actual.lse[l]);
        for (int d = 0; d < c.v_dim; ++d) {
          const float x = actual.out[at + static_cast<std::size_t>(d)];
          any_nan = any_nan || !std::isfinite(x);
        }
        ASSERT_TRUE(any_nan) << what << ": query " << t << " head " << h;
        continue;
      }
      ++untouched;
      for (int d = 0; d < c.v_dim; ++d) {
        const std::size_t i = at + static_cast<std::size_t>(d);
        ASSERT_TRUE(same_bits(clean.out[i], actual.out[i]))
            << what << ": query " << t << " head " << h << " dim " << d;
      }
      ASSERT_TRUE(same_bits(clean.lse[l], actual.lse[l])) << what << ": query " << t;
    }
  }
  EXPECT_GT(untouched, 0);
  if (key >= 0) {
    EXPECT_GT(touched, 0);
  }
}

class NonFinite : public ::testing::TestWithParam<Dtypes> {};

TEST_P(NonFinite, KeysAndValuesReachOnlyRowsThatSeeThem) {
  const ForwardCase c = small_case(GetParam());
  ForwardData clean(c);
  const float bad[] = {NAN, INFINITY, -INFINITY};
  for (Isa isa : supported_isas()) {
    const Outputs expected = run_prefill(clean, isa);
    for (std::int64_t key : {170, 263, 270, 285, 299}) {
      for (float x : bad) {
        ForwardData in_v(c);
        in_v.v.set(key, 0, 3, x);
        const Outputs prefill = run_prefill(in_v, isa), decode = run_decode(in_v, isa);
        expect_rows_clean(c, expected, prefill, key, "prefill, v");
        expect_rows_clean(c, expected, decode, key, "decode, v");
        EXPECT_EQ(count_different(prefill, decode), 0);
      }
      ForwardData in_k(c);
      in_k.k.set(key, 0, 3, NAN);
      expect_rows_clean(c, expected, run_prefill(in_k, isa), key, "prefill, k");
      expect_rows_clean(c, expected, run_decode(in_k, isa), key, "decode, k");
    }
  }
}

TEST_P(NonFinite, QueryReachesItsOwnRow) {
  const ForwardCase c = small_case(GetParam());
  ForwardData clean(c);
  for (Isa isa : supported_isas()) {
    for (bool decode : {false, true}) {
      const Outputs expected = decode ? run_decode(clean, isa) : run_prefill(clean, isa);
      ForwardData spoiled(c);
      spoiled.q.set(11, 2, 5, NAN);
      const Outputs actual = decode ? run_decode(spoiled, isa) : run_prefill(spoiled, isa);
      std::int64_t changed = 0;
      for (std::size_t i = 0; i < actual.out.size(); ++i) {
        const bool own = i / static_cast<std::size_t>(c.v_dim) == 11 * 4 + 2;
        if (own) {
          EXPECT_TRUE(std::isnan(actual.out[i]));
        } else {
          changed += !same_bits(actual.out[i], expected.out[i]);
        }
      }
      EXPECT_EQ(changed, 0) << isa_name(isa);
    }
  }
}

// Keys that no query sees hold NaN everywhere; so do the evicted ones, which are not even there.
TEST_P(NonFinite, UnseenKeysMayHoldAnything) {
  ForwardCase c = small_case(GetParam());
  for (Isa isa : supported_isas()) {
    ForwardData clean(c), spoiled(c);
    const MaskPredicate sees(c.mask, c.scope());
    std::int64_t unseen = 0;
    for (std::int64_t key = 0; key < c.kv_len; ++key) {
      bool seen = false;
      for (std::int64_t t = 0; t < c.q_len; ++t) seen = seen || sees(t, key);
      if (seen) continue;
      ++unseen;
      for (int h = 0; h < c.n_kv_heads; ++h) {
        for (int d = 0; d < c.head_dim; ++d) spoiled.k.set(key, h, d, NAN);
        for (int d = 0; d < c.v_dim; ++d) spoiled.v.set(key, h, d, INFINITY);
      }
    }
    ASSERT_GT(unseen, 100);
    const Outputs expected = run_prefill(clean, isa);
    EXPECT_EQ(count_different(expected, run_prefill(spoiled, isa)), 0) << isa_name(isa);
    EXPECT_EQ(count_different(expected, run_decode(spoiled, isa)), 0) << isa_name(isa);

    ForwardCase evicted = c;
    evicted.evict_from = 3;
    evicted.evict_to = c.kv_len - c.q_len - 95;  // all of them unseen
    for (std::int64_t page : {0, 16, 5}) {
      evicted.page_size = page;
      ForwardData data(evicted);
      EXPECT_EQ(count_different(expected, run_prefill(data, isa)), 0) << isa_name(isa);
      EXPECT_EQ(count_different(expected, run_decode(data, isa)), 0) << isa_name(isa);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, NonFinite, ::testing::ValuesIn(kTestDtypes));

// Rows that see nothing write exact zeros and -inf, over whatever out held.
TEST_P(NonFinite, EmptyRowsAreZeroAndMinusInfinity) {
  ForwardCase c = small_case(GetParam());
  c.q_len = 30, c.kv_len = 20;  // causal, bottom right: the first ten queries see nothing
  c.mask = Mask::parse("causal");
  ForwardData data(c);
  for (Isa isa : supported_isas()) {
    for (const Outputs& o : {run_prefill(data, isa), run_decode(data, isa)}) {
      for (std::int64_t t = 0; t < c.q_len; ++t) {
        for (int h = 0; h < c.n_heads; ++h) {
          const float lse = o.lse[static_cast<std::size_t>(h * c.q_len + t)];
          EXPECT_EQ(std::isinf(lse), t < 10);
          for (int d = 0; d < c.v_dim; ++d) {
            const float x = o.out[static_cast<std::size_t>((t * c.n_heads + h) * c.v_dim + d)];
            EXPECT_EQ(x == 0.0f && !std::signbit(x), t < 10);
          }
        }
      }
    }
  }
}

// Scores beyond the limits of the format count as the limits: finite results, and every driver and
// company of rows agrees.
TEST_P(NonFinite, HugeScoresStayFiniteAndAgree) {
  ForwardCase c = small_case(GetParam());
  c.mask = Mask();
  c.scale = 1;
  ForwardData data(c);
  for (std::int64_t t = 0; t < c.q_len; t += 3) {
    for (int d = 0; d < c.head_dim; ++d) data.q.set(t, 0, d, t % 2 == 0 ? 3e6f : -1e30f);
  }
  for (Isa isa : supported_isas()) {
    const bool own = GetParam().own_level(isa);
    const Outputs expected = run_prefill(data, own ? isa : Isa::kScalar);
    for (float x : expected.out) ASSERT_TRUE(std::isfinite(x));
    EXPECT_EQ(count_different(expected, run_prefill(data, isa)), 0) << isa_name(isa);
    EXPECT_EQ(count_different(expected, run_prefill(data, isa, 1)), 0) << isa_name(isa);
    EXPECT_EQ(count_different(expected, run_decode(data, isa)), 0) << isa_name(isa);
  }
}

}  // namespace
}  // namespace raptly::testing
