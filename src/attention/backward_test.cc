// The kernels of attention_backward() against the f64 path, and what they promise in bits.
#include <gtest/gtest.h>

#include "attention/backward_test_problem.h"
#include "raptly/error.h"

namespace raptly {
namespace {

using namespace attention_testing;

double unit_roundoff(DType dtype) {
  return dtype == DType::kF32 ? 0x1p-24 : dtype == DType::kF16 ? 0x1p-11 : 0x1p-8;
}

// The same problem in double.
BackwardProblem as_f64(const BackwardProblem& p) {
  BackwardProblem wide(p.forward.sizes, DType::kF64, 1);
  wide.forward.q = p.forward.q.as_f64();
  wide.forward.k = p.forward.k.as_f64();
  wide.forward.v = p.forward.v.as_f64();
  wide.forward.out = p.forward.out.as_f64();
  wide.forward.options = p.forward.options;
  wide.dout = p.dout.as_f64();
  wide.dq = p.dq.as_f64();
  wide.dk = p.dk.as_f64();
  wide.dv = p.dv.as_f64();
  wide.dlse.tensor = p.dlse.tensor.as_f64();
  wide.with_dlse = p.with_dlse;
  wide.sinks = p.sinks;
  if (p.dsinks) wide.dsinks.emplace(DType::kF64, p.dsinks->tensor.numel());
  wide.dbias_sizes = p.dbias_sizes;
  if (p.dbias) wide.dbias.emplace(DType::kF64, p.dbias->tensor.numel());
  return wide;
}

double largest(const TestTensor& t) {
  double most = 0;
  for (std::int64_t i = 0; i < t.numel(); ++i) most = std::max(most, std::fabs(t.get(i)));
  return most;
}

// |x - reference| within roundings of the largest element. Weights are off by about |lse| u more,
// as lse is f32; 16-bit results are rounded once, and rest on out, which was rounded once.
void expect_close(const TestTensor& x, const TestTensor& reference, double slack,
                  const char* name) {
  const double u = unit_roundoff(x.dtype);
  const double gate = largest(reference) * (64 * 0x1p-24 + (u > 0x1p-24 ? 2 * u : 0)) * slack +
                      64 * slack * 0x1p-24;
  double worst = 0;
  for (std::int64_t i = 0; i < x.numel(); ++i) {
    const double error = std::fabs(x.get(i) - reference.get(i));
    worst = std::isnan(error) ? INFINITY : std::max(worst, error);
  }
  EXPECT_LE(worst, gate) << name;
}

void check_against_f64(BackwardProblem& p, ExecutionContext& context, double slack = 1) {
  p.run(context);
  BackwardProblem wide = as_f64(p);
  wide.run_backward(context);
  expect_close(p.dq, wide.dq, slack, "dq");
  expect_close(p.dk, wide.dk, slack, "dk");
  expect_close(p.dv, wide.dv, slack, "dv");
  if (p.dbias) expect_close(p.dbias->tensor, wide.dbias->tensor, 4 * slack, "dbias");
  if (p.dsinks) expect_close(p.dsinks->tensor, wide.dsinks->tensor, 4 * slack, "dsinks");
}

std::vector<Mask> masks_of(std::int64_t q_len, std::int64_t kv_len) {
  mask::HfBigBirdOptions bigbird;
  bigbird.block_size = 16;
  bigbird.num_random_blocks = 2;
  std::vector<Mask> masks = {Mask(),
                             mask::causal(),
                             mask::causal() & mask::window(40, 0),
                             mask::window(9, 30),
                             mask::prefix(33) | mask::causal(),
                             mask::lengths({q_len - 10, 2}, {kv_len - 20, 0}),
                             mask::longformer(16, {0, 140}),
                             ~mask::causal(),
                             mask::dilated(5, std::vector<std::int64_t>{1, 2, 1, 3})};
  if (q_len == kv_len && q_len % 16 == 0) masks.push_back(mask::hf_bigbird(bigbird));
  return masks;
}

TEST(Backward, MasksAgreeWithF64OnEveryLevel) {
  for (const Isa isa : supported_isas()) {
    ExecutionContext context(2, isa);
    for (const std::int64_t q_len : {52, 144}) {
      const std::int64_t kv_len = q_len == 52 ? 150 : 144;
      for (const Mask& mask : masks_of(q_len, kv_len)) {
        SCOPED_TRACE(std::string(isa_name(isa)) + " " + (mask.rule() ? mask.to_string() : ""));
        BackwardProblem p({2, q_len, kv_len, 4, 2, 8, 5}, DType::kF32, 3, q_len == 52);
        p.forward.options.mask = mask;
        check_against_f64(p, context);
      }
    }
  }
}

TEST(Backward, OddShapes) {
  const Sizes shapes[] = {{1, 1, 1, 1, 1, 1, 1},      {1, 49, 129, 3, 1, 33, 80},
                          {3, 5, 300, 2, 2, 64, 16},  {1, 210, 3, 5, 5, 8, 8},
                          {1, 97, 65, 7, 1, 96, 128}, {1, 20, 40, 50, 1, 17, 5}};
  for (const Isa isa : supported_isas()) {
    ExecutionContext context(2, isa);
    for (const Sizes& s : shapes) {
      for (const Mask& mask : {Mask(), mask::causal()}) {
        SCOPED_TRACE(std::string(isa_name(isa)) + " " + std::to_string(s.q_len));
        BackwardProblem p(s, DType::kF32, 4);
        p.forward.options.mask = mask;
        check_against_f64(p, context);
      }
    }
  }
}

TEST(Backward, SixteenBitStorage) {
  for (const DType dtype : {DType::kF16, DType::kBf16}) {
    for (const Mask& mask : {mask::causal(), mask::window(30, 5)}) {
      BackwardProblem p({1, 150, 200, 4, 2, 40, 24}, dtype, 5);
      p.forward.options.mask = mask;
      p.with_dlse = true;
      check_against_f64(p, default_context(), dtype == DType::kBf16 ? 4 : 2);
    }
  }
}

TEST(Backward, ScaleSoftcapSinksAndLse) {
  for (const Isa isa : supported_isas()) {
    ExecutionContext context(2, isa);
    for (const Mask& mask : {mask::causal(), mask::lengths({70}, {90})}) {
      BackwardProblem p({1, 99, 200, 2, 1, 16, 16}, DType::kF32, 6);
      p.forward.options.mask = mask;
      p.forward.options.softcap = 2.5f;
      p.forward.options.scale = -0.4f;
      p.set_sinks({0.5f, 3});
      p.with_dlse = true;
      check_against_f64(p, context, 4);
    }
  }
}

std::vector<float> sixteenths(std::size_t n) {
  std::vector<float> list(n);
  for (std::size_t i = 0; i < n; ++i) list[i] = static_cast<float>((i * 7 + 3) % 13) / 16 - 0.25f;
  return list;
}

TEST(Backward, Biases) {
  const std::vector<float> slopes = sixteenths(4), table = sixteenths(4 * 41),
                           buckets = sixteenths(8 * 4);
  for (const Isa isa : supported_isas()) {
    ExecutionContext context(2, isa);
    for (const std::int64_t n_kv_heads : {4, 2}) {
      for (const bool placed : {false, true}) {
        for (const int kind : {0, 1, 2}) {
          SCOPED_TRACE(std::string(isa_name(isa)) + " " + std::to_string(kind));
          BackwardProblem p({2, 70, 140, 4, n_kv_heads, 8, 4}, DType::kF32, 7);
          p.forward.options.mask =
              placed ? mask::lengths({70, 50}, {135, 60}) : mask::causal() | mask::window(3, 9);
          if (kind == 0) p.set_bias(bias::alibi(slopes), {4});
          if (kind == 1) p.set_bias(bias::relative(TensorView(table.data(), {4, 41})), {4, 41});
          if (kind == 2) p.set_bias(bias::t5(TensorView(buckets.data(), {8, 4}), true), {8, 4});
          check_against_f64(p, context, kind == 0 ? 16 : 4);
        }
      }
    }
  }
}

TEST(Backward, DenseBiasSumsOverItsBroadcastAxes) {
  const Sizes s{2, 60, 150, 2, 1, 12, 8};
  for (int broadcast = 0; broadcast < 16; ++broadcast) {
    std::vector<std::int64_t> sizes = {s.batch, s.n_heads, s.q_len, s.kv_len};
    for (int d = 0; d < 4; ++d) {
      if ((broadcast >> d & 1) != 0) sizes[static_cast<std::size_t>(d)] = 1;
    }
    SCOPED_TRACE(broadcast);
    BackwardProblem p(s, DType::kF32, 9);
    p.forward.options.mask = mask::causal();
    p.set_sinks({0.25f, 1});
    const std::vector<float> numbers =
        sixteenths(static_cast<std::size_t>(sizes[0] * sizes[1] * sizes[2] * sizes[3]));
    p.set_bias(bias::dense(TensorView(numbers.data(), DType::kF32, TensorShape(sizes))), sizes);
    check_against_f64(p, default_context(), 4);
  }
}

TEST(Backward, LevelsAndThreadsGiveTheSameBits) {
  const std::vector<float> table = sixteenths(6 * 41);
  for (const Mask& mask : {mask::causal(), mask::longformer(32, {5, 200}), mask::window(100, 0)}) {
    for (const bool with_bias : {false, true}) {
      const Sizes sizes{1, 210, 520, 6, 2, 40, 24};
      const auto make = [&] {
        BackwardProblem p(sizes, DType::kF32, 10);
        p.forward.options.mask = mask;
        p.set_sinks({0, 1, 2, -1, 0.5f, 3});
        p.with_dlse = true;
        if (with_bias) p.set_bias(bias::relative(TensorView(table.data(), {6, 41})), {6, 41});
        return p;
      };
      BackwardProblem first = make();
      ExecutionContext alone(1, supported_isas().front());
      first.run(alone);
      for (const Isa isa : supported_isas()) {
        for (const int threads : {1, 2, 7, 64}) {
          if (isa != best_isa() && threads != 7) continue;
          SCOPED_TRACE(std::string(isa_name(isa)) + " " + std::to_string(threads));
          BackwardProblem p = make();
          ExecutionContext context(threads, isa);
          p.run(context);
          EXPECT_TRUE(same_bits(p.dq, first.dq));
          EXPECT_TRUE(same_bits(p.dk, first.dk));
          EXPECT_TRUE(same_bits(p.dv, first.dv));
          EXPECT_TRUE(same_bits(p.dsinks->tensor, first.dsinks->tensor));
          if (with_bias) {
            EXPECT_TRUE(same_bits(p.dbias->tensor, first.dbias->tensor));
          }
        }
      }
    }
  }
}

TEST(Backward, SecondProjections) {
  for (const bool accumulate : {false, true}) {
    for (const Mask& mask :
         {mask::longformer(32, {3, 60, 199}),
          mask::longformer(16, std::vector<std::vector<std::int64_t>>{{0, 1}, {}})}) {
      const std::vector<float> table = sixteenths(4 * 41);
      BackwardProblem p({2, 200, 200, 4, 2, 16, 8}, DType::kF32, 16);
      p.forward.options.mask = mask;
      p.accumulate = accumulate;
      p.set_sinks({0.5f, 2, 1, -1});
      p.with_dlse = true;
      p.set_bias(bias::relative(TensorView(table.data(), {4, 41})), {4, 41});
      GlobalTensors global(p, 17);
      global.give_to(p);
      p.forward.run(default_context());
      BackwardProblem wide = as_f64(p);
      GlobalTensors wide_global(wide, 1);
      wide_global.q = global.q.as_f64();
      wide_global.k = global.k.as_f64();
      wide_global.v = global.v.as_f64();
      wide_global.give_to(wide);
      wide.accumulate = accumulate;
      wide_global.dq = global.dq.as_f64();
      wide_global.dk = global.dk.as_f64();
      wide_global.dv = global.dv.as_f64();
      attention_backward(p.inputs(), global.gradients(p), p.forward.options);
      attention_backward(wide.inputs(), wide_global.gradients(wide), wide.forward.options);
      expect_close(p.dq, wide.dq, 1, "dq");
      expect_close(p.dk, wide.dk, 1, "dk");
      expect_close(p.dv, wide.dv, 1, "dv");
      expect_close(global.dq, wide_global.dq, 1, "dq_global");
      expect_close(global.dk, wide_global.dk, 1, "dk_global");
      expect_close(global.dv, wide_global.dv, 1, "dv_global");
      expect_close(p.dbias->tensor, wide.dbias->tensor, 4, "dbias");
      expect_close(p.dsinks->tensor, wide.dsinks->tensor, 4, "dsinks");
    }
  }
}

// Hidden keys get 0 and, whatever they and hidden queries hold, nobody else notices.
TEST(Backward, NanInMaskedSlotsIsHarmless) {
  for (const bool dense_mask : {false, true}) {
    const Sizes s{1, 100, 200, 2, 1, 16, 8};
    std::vector<float> numbers(100 * 200);
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      numbers[i] = i / 200 < 80 && i % 200 < 150 ? 0.5f : -INFINITY;
    }
    const auto make = [&] {
      BackwardProblem p(s, DType::kF32, 11);
      if (dense_mask) {
        p.set_bias(bias::dense(TensorView(numbers.data(), {1, 1, 100, 200})), {1, 1, 100, 200});
        p.forward.options.mask = mask::window(500, 500);
      } else {
        p.forward.options.mask = mask::lengths({80}, {150});
      }
      p.set_sinks({0.5f, 1});
      return p;
    };
    BackwardProblem clean = make();
    clean.run(default_context());
    BackwardProblem p = make();
    for (std::int64_t h = 0; h < 2; ++h) {
      p.forward.q.set(p.forward.q.index(0, 85, h, 3), std::nan(""));
      p.dout.set(p.dout.index(0, 99, h, 2), std::nan(""));
      p.dout.set(p.dout.index(0, 90, h, 2), INFINITY);
    }
    p.forward.k.set(p.forward.k.index(0, 151, 0, 0), std::nan(""));
    p.forward.k.set(p.forward.k.index(0, 199, 0, 1), INFINITY);
    p.forward.v.set(p.forward.v.index(0, 160, 0, 7), -INFINITY);
    p.run(default_context());
    EXPECT_TRUE(same_bits(p.dq, clean.dq));
    EXPECT_TRUE(same_bits(p.dk, clean.dk));
    EXPECT_TRUE(same_bits(p.dv, clean.dv));
    EXPECT_TRUE(same_bits(p.dsinks->tensor, clean.dsinks->tensor));
    for (std::int64_t key = 150; key < 200; ++key) {
      for (std::int64_t d = 0; d < 16; ++d) EXPECT_EQ(p.dk.get(p.dk.index(0, key, 0, d)), 0);
      for (std::int64_t d = 0; d < 8; ++d) EXPECT_EQ(p.dv.get(p.dv.index(0, key, 0, d)), 0);
    }
    for (std::int64_t i = 80; i < 100; ++i) {
      for (std::int64_t d = 0; d < 16; ++d) EXPECT_EQ(p.dq.get(p.dq.index(0, i, 1, d)), 0);
    }
  }
}

// NaN in a visible query reaches the keys that it sees, and no others.
TEST(Backward, NanReachesOnlyVisiblePairs) {
  BackwardProblem p({1, 100, 100, 1, 1, 16, 8}, DType::kF32, 12);
  p.forward.options.mask = mask::causal();
  p.forward.q.set(p.forward.q.index(0, 20, 0, 3), std::nan(""));
  p.forward.k.set(p.forward.k.index(0, 99, 0, 3), INFINITY);
  p.run(default_context());
  for (std::int64_t i = 0; i < 60; ++i) {
    EXPECT_EQ(std::isnan(p.dq.get(p.dq.index(0, i, 0, 0))), i == 20) << i;
  }
  for (std::int64_t j = 0; j < 60; ++j) {
    EXPECT_EQ(std::isnan(p.dv.get(p.dv.index(0, j, 0, 0))), j <= 20) << j;
  }
}

TEST(Backward, AccumulateAddsBeforeTheRounding) {
  for (const DType dtype : {DType::kF32, DType::kBf16}) {
    BackwardProblem once({1, 50, 70, 2, 1, 8, 8}, dtype, 13), twice = once;
    once.run(default_context());
    twice.accumulate = true;
    twice.run(default_context());
    BackwardProblem wide = as_f64(once);
    wide.run_backward(default_context());
    for (std::int64_t i = 0; i < once.dq.numel(); ++i) {
      ASSERT_NEAR(twice.dq.get(i), wide.dq.get(i) + 7, 8 * unit_roundoff(dtype) * 1.01) << i;
    }
  }
}

// dq, dk and dv of a packed tensor [batch, len, heads of q, k and v, dim], and of [.., 3, heads,
// dim].
TEST(Backward, PackedGradients) {
  BackwardProblem p({2, 50, 50, 4, 2, 8, 8}, DType::kF32, 18);
  p.run(default_context());
  std::vector<float> packed(2 * 50 * 8 * 8, 9);
  const auto part = [&](std::int64_t first_head, std::int64_t n_heads) {
    const std::int64_t sizes[] = {2, 50, n_heads, 8}, strides[] = {50 * 64, 64, 8, 1};
    return MutableTensorView(packed.data() + first_head * 8, DType::kF32,
                             TensorShape(sizes, strides));
  };
  AttentionGradients gradients;
  gradients.dq = part(0, 4);
  gradients.dk = part(4, 2);
  gradients.dv = part(6, 2);
  attention_backward(p.inputs(), gradients, p.forward.options);
  for (std::int64_t i = 0; i < 100; ++i) {
    for (std::int64_t d = 0; d < 8; ++d) {
      const auto at = static_cast<std::size_t>(i * 64 + d);
      ASSERT_EQ(static_cast<double>(packed[at]), p.dq.get(p.dq.index(i / 50, i % 50, 0, d)));
      ASSERT_EQ(static_cast<double>(packed[at + 32]), p.dk.get(p.dk.index(i / 50, i % 50, 0, d)));
      ASSERT_EQ(static_cast<double>(packed[at + 56]), p.dv.get(p.dv.index(i / 50, i % 50, 1, d)));
    }
  }
  gradients.dv = part(5, 2);
  EXPECT_THROW(attention_backward(p.inputs(), gradients, p.forward.options), Error);
}

TEST(Backward, OnlyWhatIsAskedForAndEmptyTensors) {
  BackwardProblem p({2, 60, 130, 2, 1, 8, 4}, DType::kF32, 14), all = p;
  all.run(default_context());
  p.forward.run(default_context());
  AttentionGradients gradients;
  gradients.dk = p.dk.view();
  attention_backward(p.inputs(), gradients, p.forward.options);
  EXPECT_TRUE(same_bits(p.dk, all.dk));
  EXPECT_EQ(p.dq.get(0), 7);
  gradients = {};
  gradients.dq = p.dq.view();
  attention_backward(p.inputs(), gradients, p.forward.options);
  EXPECT_TRUE(same_bits(p.dq, all.dq));
  EXPECT_EQ(p.dv.get(0), 7);
  for (const Sizes& s : {Sizes{0, 4, 4, 2, 1, 8, 4}, Sizes{1, 0, 4, 2, 1, 8, 4},
                         Sizes{1, 4, 0, 2, 1, 8, 4}, Sizes{1, 4, 4, 0, 0, 8, 4}}) {
    BackwardProblem empty(s, DType::kF32, 15);
    empty.run(default_context());
    for (const TestTensor* t : {&empty.dq, &empty.dk, &empty.dv}) {
      for (std::int64_t i = 0; i < t->numel(); ++i) EXPECT_EQ(t->get(i), 0);
    }
  }
}

}  // namespace
}  // namespace raptly
