// The gate of docs/numerics.md: kernels against the reference in double.
#include <gtest/gtest.h>

#include "kernels/flash_forward/forward_gate.h"

namespace raptly::testing {
namespace {

struct Geometry {
  std::int64_t q_len, kv_len;
  int n_heads, n_kv_heads, head_dim, v_dim;
  const char* mask;
};

class ForwardGate : public ::testing::TestWithParam<Geometry> {};

TEST_P(ForwardGate, EveryLevelAndDtype) {
  const Geometry& g = GetParam();
  for (DType kv : {DType::kF32, DType::kBf16, DType::kF16}) {
    ForwardCase c;
    c.q_len = g.q_len, c.kv_len = g.kv_len;
    c.n_heads = g.n_heads, c.n_kv_heads = g.n_kv_heads;
    c.head_dim = g.head_dim, c.v_dim = g.v_dim;
    c.mask = Mask::parse(g.mask);
    c.kv_dtype = kv;
    c.q_dtype = c.out_dtype = kv;
    ForwardData data(c);
    for (Isa isa : supported_isas()) {
      const double p_u = Dtypes{kv, kv}.own_level(isa) ? kBf16U : 0;
      const Outputs prefill = run_prefill(data, isa), decode = run_decode(data, isa);
      expect_within_gate(data, prefill, p_u,
                         std::string(isa_name(isa)) + " prefill " + dtype_name(kv));
      EXPECT_EQ(count_different(prefill, decode), 0) << isa_name(isa) << " " << dtype_name(kv);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, ForwardGate,
    ::testing::Values(Geometry{1, 1, 1, 1, 1, 1, "all"}, Geometry{3, 5, 2, 1, 7, 3, "all"},
                      Geometry{17, 129, 2, 2, 33, 33, "causal"},
                      Geometry{50, 50, 3, 1, 16, 24, "causal"},
                      Geometry{5, 1100, 1, 1, 64, 64, "causal"},
                      Geometry{70, 70, 7, 1, 20, 12, "causal(corner=\"top_left\")"},
                      Geometry{40, 300, 2, 2, 8, 8, "causal & window(37, 0)"},
                      Geometry{9, 4, 1, 1, 5, 6, "causal"}));

}  // namespace
}  // namespace raptly::testing
