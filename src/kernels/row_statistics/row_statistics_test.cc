// The kernel against the textbook loops, and one level against another in bits.
#include "kernels/row_statistics/row_statistics.h"

#include <gtest/gtest.h>

#include "kernels/flash_forward/forward_test_case.h"
#include "kernels/row_statistics/reference.h"

namespace raptly::testing {
namespace {

constexpr int kTop = 5;

struct Statistics {
  std::vector<float> entropy, max, weight, mass;
  std::vector<std::int64_t> index;

  explicit Statistics(const ForwardCase& c)
      : entropy(static_cast<std::size_t>(c.n_heads * c.q_len), 7),
        max(entropy),
        weight(entropy.size() * kTop, 7),
        mass(static_cast<std::size_t>(c.n_heads * c.kv_len), 7),
        index(weight.size(), -7) {}
};

// f(row item, mass item) for each head, over the lse of the forward kernel.
template <class F>
Statistics collect_statistics(ForwardData& data, std::vector<float>& lse, F&& f) {
  const ForwardCase& c = data.problem();
  data.view();
  Statistics result(c);
  for (int h = 0; h < c.n_heads; ++h) {
    RowStatisticsItem rows;
    rows.rows = data.item(h);
    rows.rows.v_dim = 0;
    rows.rows.lse = lse.data();
    rows.entropy = result.entropy.data();
    rows.max = result.max.data();
    rows.entropy_head_stride = rows.max_head_stride = rows.q_len = c.q_len;
    rows.top_k = kTop;
    rows.top_index = result.index.data();
    rows.top_weight = result.weight.data();
    ColumnMassItem mass;
    mass.rows = rows.rows;
    mass.n_keys = c.kv_len;
    mass.mass = result.mass.data();
    mass.mass_head_stride = c.kv_len;
    f(rows, mass);
  }
  return result;
}

Statistics run_kernel(ForwardData& data, std::vector<float>& lse, Isa isa) {
  const ForwardCase& c = data.problem();
  const TilePlan plan(c.mask, c.scope(), kMassTileQueries);
  FlashForwardSize size =
      size_of(c, static_cast<std::int64_t>(plan.tiles().size()), kMassTileQueries);
  size.v_dim = 0;
  const AlignedBytes workspace(row_statistics_workspace_bytes(size, isa));
  return collect_statistics(data, lse, [&](RowStatisticsItem& rows, ColumnMassItem& mass) {
    rows.rows.tiles = mass.rows.tiles = plan.tiles();
    row_statistics(rows, workspace.data(), isa);
    column_mass(mass, workspace.data(), isa);
  });
}

void expect_close(const std::vector<float>& actual, const std::vector<float>& expected,
                  const char* what) {
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (std::isinf(expected[i])) {
      ASSERT_EQ(actual[i], expected[i]) << what << " " << i;
    } else {
      ASSERT_NEAR(actual[i], expected[i], 2e-5 * std::fmax(1, std::fabs(expected[i])))
          << what << " " << i;
    }
  }
}

ForwardCase make_case(const char* mask) {
  ForwardCase c;  // one group a head; more queries than one tile, keys that fill no block
  c.q_len = 101, c.kv_len = 301;
  c.n_heads = c.n_kv_heads = 2;
  c.head_dim = 19, c.v_dim = 8;
  c.mask = Mask::parse(mask);
  return c;
}

TEST(RowStatisticsKernel, AgreesWithTheReferenceAtEveryLevel) {
  for (const char* text :
       {"all", "causal", "causal & window(20, 0)", "causal & prefix(0) & none"}) {
    ForwardData data(make_case(text));
    std::vector<float> lse = run_prefill(data, supported_isas().front()).lse;
    const ForwardCase& c = data.problem();
    const MaskPredicate sees(c.mask, c.scope());
    const Statistics expected =
        collect_statistics(data, lse, [&](RowStatisticsItem& rows, ColumnMassItem& mass) {
          row_statistics_reference(rows, std::ref(sees));
          column_mass_reference(mass, c.q_len, std::ref(sees));
        });
    for (const Isa isa : supported_isas()) {
      const Statistics actual = run_kernel(data, lse, isa);
      expect_close(actual.entropy, expected.entropy, "entropy");
      expect_close(actual.max, expected.max, "max");
      expect_close(actual.weight, expected.weight, "weight");
      expect_close(actual.mass, expected.mass, "mass");
      EXPECT_EQ(actual.index, expected.index) << isa_name(isa) << " " << text;
    }
  }
}

TEST(RowStatisticsKernel, LevelsEqualInBits) {
  ForwardData data(make_case("causal & window(70, 0)"));
  std::vector<float> lse = run_prefill(data, supported_isas().front()).lse;
  const Statistics first = run_kernel(data, lse, supported_isas().front());
  for (const Isa isa : supported_isas()) {
    const Statistics other = run_kernel(data, lse, isa);
    EXPECT_EQ(first.entropy, other.entropy) << isa_name(isa);
    EXPECT_EQ(first.max, other.max) << isa_name(isa);
    EXPECT_EQ(first.weight, other.weight) << isa_name(isa);
    EXPECT_EQ(first.mass, other.mass) << isa_name(isa);
  }
}

}  // namespace
}  // namespace raptly::testing
