// Gradients have the bits of the scalar level on every level.
#include <gtest/gtest.h>

#include "kernels/flash_backward/backward_test_case.h"

namespace raptly {
namespace {

using namespace testing;

TEST(FlashBackwardScalar, EveryLevelHasItsBits) {
  const ForwardCase cases[] = {
      {.q_len = 97, .kv_len = 311, .head_dim = 64, .v_dim = 64, .mask = mask::causal()},
      {.q_len = 50,
       .kv_len = 50,
       .n_heads = 7,
       .n_kv_heads = 1,
       .head_dim = 19,
       .v_dim = 45,
       .mask = mask::window(9, 3),
       .softcap = 3},
      {.q_len = 20, .kv_len = 140, .q_amplitude = 1e3f, .k_amplitude = 1e4f},  // clamped scores
  };
  for (ForwardCase c : cases) {
    for (const Dtypes dtypes : kTestDtypes) {
      c.q_dtype = dtypes.q;
      c.kv_dtype = dtypes.kv;
      BackwardData data(c);
      const Gradients<float> scalar = run_backward_kernels(data, Isa::kScalar);
      for (const Isa isa : supported_isas()) {
        EXPECT_TRUE(same_bits(run_backward_kernels(data, isa), scalar))
            << isa_name(isa) << " q_len " << c.q_len << " " << dtype_name(dtypes.q) << " "
            << dtype_name(dtypes.kv);
      }
    }
  }
}

}  // namespace
}  // namespace raptly
