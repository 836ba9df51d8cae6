// The f64 path of attention_backward() against differences of a loss that is written down apart.
#include <gtest/gtest.h>

#include "attention/backward_test_problem.h"

namespace raptly {
namespace {

using namespace attention_testing;

constexpr double kGate = 2e-8;

// Every element of `gradient` against the slope of the loss along the same element of `t`.
void check_tensor(BackwardProblem& p, TestTensor& t, const TestTensor& gradient, const char* name) {
  for (std::int64_t i = 0; i < t.numel(); ++i) {
    const double before = t.get(i);
    const double slope = slope_of([&](double x) {
      t.set(i, before + x);
      return loss_of(p);
    });
    t.set(i, before);
    ASSERT_NEAR(gradient.get(i), slope, kGate * std::max(1.0, std::fabs(slope)))
        << name << " " << i;
  }
}

// The gradients of the three tensors, and of the sinks.
void check_gradients(BackwardProblem& p) {
  p.run(default_context());
  check_tensor(p, p.forward.q, p.dq, "dq");
  check_tensor(p, p.forward.k, p.dk, "dk");
  check_tensor(p, p.forward.v, p.dv, "dv");
  for (std::size_t h = 0; h < p.sinks.size(); ++h) {
    const float before = p.sinks[h];
    const double slope = slope_of([&](double x) {
      p.sinks[h] = before + static_cast<float>(x);
      return loss_of(p);
    });
    p.sinks[h] = before;
    ASSERT_NEAR(p.dsinks->tensor.get(static_cast<std::int64_t>(h)), slope, kGate);
  }
}

// The gradient of a bias made from f32 parameters.
void check_bias(BackwardProblem& p, std::vector<float>& parameters,
                const std::function<Bias()>& make) {
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const float before = parameters[i];
    const double slope = slope_of([&](double x) {
      parameters[i] = before + static_cast<float>(x);
      p.forward.options.bias = make();
      return loss_of(p);
    });
    parameters[i] = before;
    ASSERT_NEAR(p.dbias->tensor.get(static_cast<std::int64_t>(i)), slope,
                kGate * std::max(1.0, std::fabs(slope)))
        << "dbias " << i;
  }
  p.forward.options.bias = make();
}

std::vector<float> sixteenths(std::size_t n) {
  std::vector<float> list(n);
  for (std::size_t i = 0; i < n; ++i) list[i] = static_cast<float>((i * 7 + 3) % 13) / 16 - 0.25f;
  return list;
}

std::vector<Mask> masks_of(std::int64_t q_len, std::int64_t kv_len) {
  return {Mask(),
          mask::causal(),
          mask::causal() & mask::window(2, 0),
          mask::window(1, 1),
          mask::prefix(3) | mask::causal(),
          mask::lengths({q_len - 1, 2}, {kv_len - 2, 0}),
          mask::longformer(2, {0, 3}),
          ~mask::causal()};
}

TEST(BackwardGradient, MasksHeadsAndShapes) {
  const Sizes shapes[] = {{2, 5, 5, 2, 2, 3, 3}, {2, 4, 7, 4, 2, 2, 5}, {2, 6, 6, 3, 1, 1, 2}};
  for (const Sizes& s : shapes) {
    for (const Mask& mask : masks_of(s.q_len, s.kv_len)) {
      BackwardProblem p(s, DType::kF64, 3, s.head_dim == 2);
      p.forward.options.mask = mask;
      SCOPED_TRACE(mask.rule() ? mask.to_string() : "no mask");
      check_gradients(p);
    }
  }
}

TEST(BackwardGradient, ScaleSoftcapSinksAndLse) {
  for (const Mask& mask : {mask::causal(), mask::lengths({3, 0}, {2, 4})}) {
    BackwardProblem p({2, 5, 6, 2, 1, 3, 2}, DType::kF64, 5);
    p.forward.options.mask = mask;
    p.forward.options.softcap = 1.5f;
    p.forward.options.scale = -0.75f;
    p.set_sinks({0.5f, -1});
    p.with_dlse = true;
    check_gradients(p);
  }
}

TEST(BackwardGradient, PairsThatCountTwice) {
  BackwardProblem p({1, 24, 24, 2, 1, 2, 2}, DType::kF64, 6);
  mask::HfBigBirdOptions bigbird;
  bigbird.block_size = 2;
  bigbird.num_random_blocks = 2;
  p.forward.options.mask = mask::hf_bigbird(bigbird);
  p.with_dlse = true;
  check_gradients(p);
}

TEST(BackwardGradient, AlibiSlopes) {
  for (const bool of_batch : {false, true}) {
    BackwardProblem p({2, 5, 6, 2, 1, 3, 2}, DType::kF64, 7);
    p.forward.options.mask = mask::causal();
    std::vector<float> slopes = sixteenths(of_batch ? 4 : 2);
    const auto make = [&] {
      if (!of_batch) return bias::alibi(slopes);
      return bias::alibi(
          std::vector<std::vector<float>>{{slopes[0], slopes[1]}, {slopes[2], slopes[3]}});
    };
    p.set_bias(make(), of_batch ? std::vector<std::int64_t>{2, 2} : std::vector<std::int64_t>{2});
    check_gradients(p);
    check_bias(p, slopes, make);
  }
}

TEST(BackwardGradient, RelativeAndT5Tables) {
  BackwardProblem p({2, 5, 6, 2, 1, 3, 2}, DType::kF64, 8);
  p.forward.options.softcap = 2.0f;
  std::vector<float> table = sixteenths(2 * 5);
  const auto relative = [&] { return bias::relative(TensorView(table.data(), {2, 5})); };
  p.set_bias(relative(), {2, 5});
  check_gradients(p);
  check_bias(p, table, relative);

  std::vector<float> buckets = sixteenths(8 * 2);
  const auto t5 = [&] { return bias::t5(TensorView(buckets.data(), {8, 2}), true, 4); };
  p.set_bias(t5(), {8, 2});
  check_gradients(p);
  check_bias(p, buckets, t5);
}

TEST(BackwardGradient, DenseBiasSumsOverItsBroadcastAxes) {
  const Sizes s{2, 3, 5, 2, 1, 3, 2};
  for (int broadcast = 0; broadcast < 16; ++broadcast) {
    std::vector<std::int64_t> sizes = {s.batch, s.n_heads, s.q_len, s.kv_len};
    for (int d = 0; d < 4; ++d) {
      if ((broadcast >> d & 1) != 0) sizes[static_cast<std::size_t>(d)] = 1;
    }
    BackwardProblem p(s, DType::kF64, 9);
    p.forward.options.mask = mask::causal();
    p.set_sinks({0.25f, 1});
    std::vector<float> numbers =
        sixteenths(static_cast<std::size_t>(sizes[0] * sizes[1] * sizes[2] * sizes[3]));
    const auto make = [&] {
      return bias::dense(TensorView(numbers.data(), DType::kF32, TensorShape(sizes)));
    };
    p.set_bias(make(), sizes);
    check_gradients(p);
    check_bias(p, numbers, make);
  }
}

TEST(BackwardGradient, SecondProjections) {
  BackwardProblem p({2, 8, 8, 2, 1, 3, 2}, DType::kF64, 12);
  const std::vector<std::int64_t> rows = {0, 5};
  p.forward.options.mask = mask::longformer(4, rows);
  p.set_sinks({0.5f, -1});
  p.with_dlse = true;
  std::vector<float> slopes = sixteenths(2);
  const auto make = [&] { return bias::alibi(slopes); };
  p.set_bias(make(), {2});
  GlobalTensors global(p, 13);
  global.give_to(p);
  p.forward.run(default_context());
  attention_backward(p.inputs(), global.gradients(p), p.forward.options);
  const auto check = [&](TestTensor& t, const TestTensor& gradient, const char* name) {
    for (std::int64_t i = 0; i < t.numel(); ++i) {
      const double before = t.get(i);
      const double slope = slope_of([&](double x) {
        t.set(i, before + x);
        return loss_of(p, &global, rows);
      });
      t.set(i, before);
      ASSERT_NEAR(gradient.get(i), slope, kGate * std::max(1.0, std::fabs(slope))) << name << i;
    }
  };
  check(p.forward.q, p.dq, "dq");
  check(p.forward.k, p.dk, "dk");
  check(p.forward.v, p.dv, "dv");
  check(global.q, global.dq, "dq_global");
  check(global.k, global.dk, "dk_global");
  check(global.v, global.dv, "dv_global");
  for (std::size_t h = 0; h < 2; ++h) {
    for (std::vector<float>* parameters : {&p.sinks, &slopes}) {
      float& x = (*parameters)[h];
      const float before = x;
      const double slope = slope_of([&](double step) {
        x = before + static_cast<float>(step);
        p.forward.options.bias = make();
        return loss_of(p, &global, rows);
      });
      x = before;
      const TestArray& of = parameters == &slopes ? *p.dbias : *p.dsinks;
      ASSERT_NEAR(of.tensor.get(static_cast<std::int64_t>(h)), slope, 4 * kGate);
    }
  }
}

TEST(BackwardGradient, RowsThatSeeNothingAreExactlyZero) {
  BackwardProblem p({1, 4, 6, 2, 2, 3, 2}, DType::kF64, 10);
  p.forward.options.mask = mask::lengths({2}, {3});
  p.forward.q.set(p.forward.q.index(0, 3, 1, 0), std::nan(""));
  p.forward.v.set(p.forward.v.index(0, 5, 0, 1), INFINITY);
  p.dout.set(p.dout.index(0, 2, 0, 0), std::nan(""));
  p.run(default_context());
  for (std::int64_t h = 0; h < 2; ++h) {
    for (std::int64_t d = 0; d < 3; ++d) {
      for (const std::int64_t i : {2, 3}) EXPECT_EQ(p.dq.get(p.dq.index(0, i, h, d)), 0);
      for (const std::int64_t j : {3, 4, 5}) EXPECT_EQ(p.dk.get(p.dk.index(0, j, h, d)), 0);
      EXPECT_TRUE(std::isfinite(p.dk.get(p.dk.index(0, 0, h, d))));
    }
    for (std::int64_t d = 0; d < 2; ++d) EXPECT_EQ(p.dv.get(p.dv.index(0, 4, h, d)), 0);
  }
}

TEST(BackwardGradient, AccumulateAdds) {
  BackwardProblem once({1, 4, 6, 2, 1, 3, 2}, DType::kF64, 11), twice = once;
  once.run(default_context());
  twice.accumulate = true;
  twice.run(default_context());
  for (std::int64_t i = 0; i < once.dk.numel(); ++i) {
    EXPECT_NEAR(twice.dk.get(i), once.dk.get(i) + 7, 1e-14);
  }
}

}  // namespace
}  // namespace raptly
