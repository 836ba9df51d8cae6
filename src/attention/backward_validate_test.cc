#include <gtest/gtest.h>

#include "attention/backward_test_problem.h"
#include "raptly/error.h"

namespace raptly {
namespace {

using namespace attention_testing;

std::string message_of(const BackwardInputs& in, const AttentionGradients& gradients,
                       const AttentionOptions& options) {
  try {
    attention_backward(in, gradients, options);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

class BackwardErrors : public ::testing::Test {
 protected:
  BackwardErrors() : p({2, 3, 5, 2, 1, 4, 6}, DType::kF64, 1) { p.forward.run(default_context()); }
  std::string message() { return message_of(in, gradients, p.forward.options); }

  BackwardProblem p;
  BackwardInputs in = p.inputs();
  AttentionGradients gradients = p.gradients();
};

TEST_F(BackwardErrors, LseOrOutOfAnotherCall) {
  in.lse = {};
  EXPECT_EQ(message(),
            "[attention_backward] lse is not given. It must be the lse of the same call of "
            "attention().");
  in.lse = TensorView(p.forward.lse.data(), {2, 2, 2});
  EXPECT_EQ(message(), "[attention] q_len of lse is 2, q_len of q is 3. They must be equal.");
  in = p.inputs();
  in.out = p.dq.view();
  EXPECT_EQ(message(), "[attention] v_dim of out is 4, v_dim of v is 6. They must be equal.");
  in = p.inputs();
  in.dout = p.forward.q.view();
  EXPECT_EQ(message(),
            "[attention_backward] dout has shape [2, 3, 2, 4], out has [2, 3, 2, 6]. They must be "
            "equal.");
  in = p.inputs();
  in.dlse = TensorView(p.forward.lse.data(), {2, 3, 2});
  EXPECT_EQ(message(),
            "[attention_backward] dlse has shape [2, 3, 2], lse has [2, 2, 3]. They must be "
            "equal.");
}

TEST_F(BackwardErrors, GradientsOfWhatIsAbsent) {
  double numbers[2];
  gradients.dbias = MutableTensorView(numbers, {2});
  EXPECT_EQ(message(),
            "[attention_backward] dbias is given, but the options have no bias. Leave dbias out.");
  gradients.dbias = {};
  gradients.dsinks = MutableTensorView(numbers, {2});
  EXPECT_EQ(
      message(),
      "[attention_backward] dsinks is given, but the options have no sinks. Leave dsinks out.");
}

TEST_F(BackwardErrors, ShapesAndDtypesOfGradients) {
  gradients.dk = p.dq.view();
  EXPECT_EQ(message(),
            "[attention_backward] dk has shape [2, 3, 2, 4], k has [2, 5, 1, 4]. They must be "
            "equal.");
  std::vector<float> narrow(static_cast<std::size_t>(p.dk.numel()));
  gradients.dk = MutableTensorView(narrow.data(), {2, 5, 1, 4});
  EXPECT_EQ(message(), "[attention_backward] dk is f32, k is f64. It must be f64.");
  gradients = p.gradients();
  p.forward.options.bias = bias::alibi({0.5f, 0.25f});
  gradients.dbias = MutableTensorView(narrow.data(), {2});
  EXPECT_EQ(message(), "[attention_backward] dbias is f32. It must be f64 where q is f64.");
  gradients.dbias = MutableTensorView(narrow.data(), {3});
  EXPECT_EQ(message(),
            "[attention_backward] dbias has shape [3], the bias has [2]. They must be equal.");
}

TEST_F(BackwardErrors, GradientsLieApart) {
  gradients.dq = p.forward.q.view();
  EXPECT_EQ(message(), "[attention_backward] dq and q overlap in memory. They must not.");
  gradients = p.gradients();
  std::vector<double> shared(2 * 5 * 6);  // as large as the larger: what lies behind is not ours
  gradients.dq = MutableTensorView(shared.data(), {2, 3, 2, 4});
  gradients.dv = MutableTensorView(shared.data(), {2, 5, 1, 6});
  EXPECT_EQ(message(), "[attention_backward] dv and dq overlap in memory. They must not.");
}

TEST_F(BackwardErrors, SecondProjections) {
  gradients.dq_global = p.dq.view();
  EXPECT_EQ(message(),
            "[attention_backward] a gradient of q_global, k_global or v_global is given, but the "
            "options have none of them. Leave it out.");
  gradients = p.gradients();
  p.forward.options.q_global = in.q;
  EXPECT_EQ(message(),
            "[attention] q_global is given, v_global is not. Give q_global, k_global and v_global "
            "or none of them.");
  p.forward.options.k_global = in.k;
  p.forward.options.v_global = in.v;
  EXPECT_EQ(message(),
            "[attention] q_global is given, but no rule of the mask makes tokens global. Use "
            "longformer with global_tokens, or join global_tokens with |.");
}

TEST_F(BackwardErrors, NothingIsWrittenBeforeAnError) {
  in.lse = {};
  (void)message();
  for (std::int64_t i = 0; i < p.dq.numel(); ++i) EXPECT_EQ(p.dq.get(i), 7);
}

}  // namespace
}  // namespace raptly
