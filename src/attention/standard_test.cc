#include "attention/standard.h"

#include <gtest/gtest.h>

#include "attention/test_problem.h"

namespace raptly {
namespace {

using namespace attention_testing;

TEST(StandardAttention, AgreesWithTheReference) {
  for (const Isa isa : supported_isas()) {
    for (const bool causal : {false, true}) {
      for (const Sizes& s : {Sizes{1, 130, 130, 2, 1, 64, 64}, Sizes{2, 5, 301, 4, 2, 80, 80},
                             Sizes{1, 1, 7, 1, 1, 3, 3}}) {
        ExecutionContext context(2, isa);
        TestProblem p(s, DType::kF32, DType::kF32, 4);
        if (causal) p.options.mask = mask::causal();
        p.run(context);  // for lse
        for (std::int64_t i = 0; i < p.out.numel(); ++i) p.out.set(i, 7);
        StandardAttention standard(s.q_len, s.kv_len, s.head_dim, context);
        standard.run(p.q.view(), p.k.view(), p.v.view(), p.out.view(), causal);
        check_against_reference(p, context);
        EXPECT_GE(standard.nbytes(), 4u * static_cast<std::size_t>(s.q_len * s.kv_len));
      }
    }
  }
}

TEST(StandardAttention, BiasesAndSinks) {
  const Sizes s{2, 70, 130, 4, 2, 64, 64};
  std::mt19937 random(6);
  std::normal_distribution<float> normal;
  std::vector<float> table(4 * 41), numbers(70 * 130), sinks = {0.5f, -INFINITY, 3, -1};
  for (float& x : table) x = normal(random);
  for (float& x : numbers) x = normal(random) > 1 ? -INFINITY : normal(random);
  std::fill_n(numbers.begin(), 130, -INFINITY);  // query 0 sees nothing
  for (const Bias& bias :
       {Bias(), bias::alibi(bias::alibi_slopes(4)), bias::relative({table.data(), {4, 41}}),
        bias::dense({numbers.data(), {1, 1, 70, 130}})}) {
    for (const bool with_sinks : {false, true}) {
      TestProblem p(s, DType::kF32, DType::kF32, 4);
      StandardOptions options{true, bias, {}};
      if (with_sinks) options.sinks = {sinks.data(), {4}};
      p.options.mask = mask::causal();
      p.options.bias = bias;
      p.options.sinks = options.sinks;
      p.run(default_context());  // for lse
      for (std::int64_t i = 0; i < p.out.numel(); ++i) p.out.set(i, 7);
      StandardAttention standard(s.q_len, s.kv_len, s.head_dim, default_context());
      standard.run(p.q.view(), p.k.view(), p.v.view(), p.out.view(), options);
      check_against_reference(p, default_context());
    }
  }
}

}  // namespace
}  // namespace raptly
