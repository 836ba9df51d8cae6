// The steps of flash_backward.h, driven by hand, against textbook loops; the 3x gate, threads, bias
// gradients and sinks are tested through attention_backward (attention/backward_*_test.cc).
#include "kernels/flash_backward/flash_backward.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/flash_backward/backward_test_case.h"

namespace raptly {
namespace {

using namespace testing;

double fill_of(int queries, int group) {
  const int lanes = queries * group;
  return lanes / static_cast<double>((lanes + kStripLanes - 1) / kStripLanes * kStripLanes);
}

TEST(FlashBackward, TilesFillTheirStrips) {
  for (int group = 1; group <= 80; ++group) {
    const int chosen = backward_tile_queries(group);
    ASSERT_TRUE(chosen >= 1 && chosen <= kMaxTileQueries) << group;
    for (int queries = 1; queries <= kMaxTileQueries; ++queries) {
      if (fill_of(chosen, group) >= 63.0 / 64) break;
      EXPECT_LE(fill_of(queries, group), fill_of(chosen, group) + 1e-9) << group << " " << queries;
    }
  }
}

// f32 sums of at most some hundred terms of about 1, which may cancel.
template <class T>
void expect_near(const char* what, const std::vector<float>& given, const std::vector<T>& wanted) {
  ASSERT_EQ(given.size(), wanted.size());
  double largest = 0, error = 0;
  for (std::size_t i = 0; i < given.size(); ++i) {
    const auto exact = static_cast<double>(wanted[i]);
    largest = std::max(largest, std::fabs(exact));
    error = std::max(error, std::fabs(static_cast<double>(given[i]) - exact));
    ASSERT_FALSE(std::isnan(given[i])) << what << " " << i;
  }
  EXPECT_LE(error, 1e-5 * std::max(largest, 0.1)) << what;
}

const ForwardCase kCases[] = {
    {.q_len = 1, .kv_len = 1, .head_dim = 1, .v_dim = 1},
    {.q_len = 300, .kv_len = 300, .head_dim = 64, .v_dim = 64, .mask = mask::causal()},
    {.q_len = 130,
     .kv_len = 517,
     .n_heads = 6,
     .n_kv_heads = 2,
     .head_dim = 40,
     .v_dim = 72,
     .mask = mask::causal() & mask::window(100, 0),
     .layout = Layout::kSparse},
    {.q_len = 70,
     .kv_len = 257,
     .n_heads = 5,
     .n_kv_heads = 1,
     .head_dim = 33,
     .v_dim = 17,
     .mask = mask::global_tokens({3, 200}) | mask::window(5, 5),
     .softcap = 2,
     .layout = Layout::kHeadMajor},
    {.q_len = 40, .kv_len = 30, .head_dim = 16, .v_dim = 16, .mask = mask::causal()},  // empty rows
};

TEST(FlashBackward, EqualsTextbookLoops) {
  for (ForwardCase c : kCases) {
    for (const Dtypes dtypes : kTestDtypes) {
      c.q_dtype = dtypes.q;
      c.kv_dtype = dtypes.kv;
      BackwardData data(c);
      const Gradients<double> wanted = run_backward_reference(data);
      for (const Isa isa : supported_isas()) {
        SCOPED_TRACE(std::string(isa_name(isa)) + " q_len " + std::to_string(c.q_len));
        const Gradients<float> given = run_backward_kernels(data, isa);
        expect_near("dq", given.dq, wanted.dq);
        expect_near("dk", given.dk, wanted.dk);
        expect_near("dv", given.dv, wanted.dv);
      }
    }
  }
}

TEST(FlashBackward, RangesOfKeysDoNotShow) {
  for (const ForwardCase& c : kCases) {
    BackwardData data(c);
    for (const Isa isa : supported_isas()) {
      EXPECT_TRUE(same_bits(run_backward_kernels(data, isa, kMaxRangeKeys),
                            run_backward_kernels(data, isa, kBlockKeys)))
          << isa_name(isa) << " q_len " << c.q_len;
    }
  }
}

TEST(FlashBackward, RowsAndKeysThatAreNotSeenHaveGradientZero) {
  const ForwardCase c{.q_len = 60, .kv_len = 200, .mask = mask::lengths({50}, {170})};
  for (const Isa isa : supported_isas()) {
    BackwardData data(c);
    const Gradients<float> before = run_backward_kernels(data, isa);
    for (std::int64_t key = 170; key < c.kv_len; ++key) {
      data.forward.k.set(key, 0, 5, NAN);
      data.forward.v.set(key, 0, 7, INFINITY);
    }
    const Gradients<float> after = run_backward_kernels(data, isa);
    EXPECT_TRUE(same_bits(before, after)) << isa_name(isa);
    const auto all_zero = [](std::span<const float> x) {
      return std::all_of(x.begin(), x.end(), [](float v) { return v == 0; });
    };
    EXPECT_TRUE(all_zero(std::span(after.dq).subspan(50 * 64))) << isa_name(isa);
    EXPECT_TRUE(all_zero(std::span(after.dk).subspan(170 * 64))) << isa_name(isa);
    EXPECT_TRUE(all_zero(std::span(after.dv).subspan(170 * 64))) << isa_name(isa);
    EXPECT_FALSE(all_zero(std::span(after.dk).first(170 * 64))) << isa_name(isa);
  }
}

}  // namespace
}  // namespace raptly
