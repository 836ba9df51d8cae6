#include "attention/flash1.h"

#include <gtest/gtest.h>

#include "attention/test_problem.h"

namespace raptly {
namespace {

using namespace attention_testing;

TEST(Flash1Attention, AgreesWithTheReference) {
  for (const Isa isa : supported_isas()) {
    for (const bool causal : {false, true}) {
      // The last one: more queries than keys, so that causal rows see nothing.
      for (const Sizes& s : {Sizes{1, 130, 130, 2, 1, 64, 64}, Sizes{2, 5, 301, 4, 2, 80, 80},
                             Sizes{1, 1, 7, 1, 1, 3, 3}, Sizes{1, 200, 140, 1, 1, 16, 16}}) {
        ExecutionContext context(2, isa);
        TestProblem p(s, DType::kF32, DType::kF32, 4);
        if (causal) p.options.mask = mask::causal();
        p.run(context);  // for lse
        for (std::int64_t i = 0; i < p.out.numel(); ++i) p.out.set(i, 7);
        Flash1Attention flash1(s.q_len, s.kv_len, s.head_dim, context);
        flash1.run(p.q.view(), p.k.view(), p.v.view(), p.out.view(), causal);
        check_against_reference(p, context);
        if (causal && s.q_len > s.kv_len) {
          EXPECT_EQ(p.out.get(0), 0);  // row 0 sees nothing
        }
      }
    }
  }
}

}  // namespace
}  // namespace raptly
