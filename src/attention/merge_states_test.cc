// merge_states: semantics.md items 6 and 14, and the algebra of docs/attention_state.md.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "attention/test_problem.h"
#include "raptly/error.h"
#include "raptly/merge.h"

namespace raptly {
namespace {

using namespace attention_testing;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// A state of its own memory; lse is stored [batch, n_heads, q_len].
struct State {
  TestTensor out;
  std::vector<float> lse;
  Sizes sizes;

  State(const Sizes& s, DType dtype, unsigned seed, bool permuted = false)
      : out(dtype, {s.batch, s.q_len, s.n_heads, s.v_dim}, permuted),
        lse(static_cast<std::size_t>(s.batch * s.n_heads * s.q_len)),
        sizes(s) {
    std::mt19937 random(seed);
    out.fill(random);
    std::normal_distribution<float> normal(0, 3);
    for (float& x : lse) x = normal(random);
  }
  MutableTensorView lse_view() { return {lse.data(), {sizes.batch, sizes.n_heads, sizes.q_len}}; }
  AttentionState view() { return {out.view(), lse_view()}; }
};

std::vector<State> random_states(const Sizes& sizes, DType dtype, std::size_t n) {
  std::vector<State> states;
  for (std::size_t i = 0; i < n; ++i) {
    states.emplace_back(sizes, dtype, static_cast<unsigned>(100 + i), i % 2 == 1);
  }
  return states;
}

void merge(std::vector<State>& states, State& into, ExecutionContext& context) {
  std::vector<AttentionState> views;
  for (State& s : states) views.push_back(s.view());
  merge_states(views, into.out.view(), into.lse_view(), context);
}

TEST(MergeStates, AgreesWithF64AtOddSizesAndStrides) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBf16}) {
    for (const std::int64_t v_dim : {1, 7, 16, 33, 64}) {
      const Sizes sizes{2, 37, 0, 3, 1, 0, v_dim};
      std::vector<State> states = random_states(sizes, dtype, 4), wide;
      states[1].lse[5] = states[2].lse[5] = -kInfinity;
      for (State& s : states) {
        wide.push_back(s);
        wide.back().out = s.out.as_f64();
      }
      State want(sizes, DType::kF64, 1), got(sizes, DType::kF32, 2, true);
      merge(wide, want, default_context());
      for (const Isa isa : supported_isas()) {
        ExecutionContext context(2, isa);
        merge(states, got, context);
        double worst = 0;
        for (std::int64_t b = 0; b < 2; ++b) {
          for (std::int64_t i = 0; i < 37 * 3 * v_dim; ++i) {
            const std::int64_t q = i / v_dim / 3, h = i / v_dim % 3, c = i % v_dim;
            worst = std::max(worst, std::fabs(got.out.get(got.out.index(b, q, h, c)) -
                                              want.out.get(want.out.index(b, q, h, c))));
          }
        }
        EXPECT_LE(worst, 1e-6) << isa_name(isa);
        for (std::size_t i = 0; i < want.lse.size(); ++i) {
          ASSERT_NEAR(got.lse[i], want.lse[i],
                      4 * 0x1p-23 * std::max(1.0f, std::fabs(want.lse[i])));
        }
      }
    }
  }
}

// Item 6: -inf is the identity, whatever its out holds.
TEST(MergeStates, AStateThatSawNothingAddsNothing) {
  const Sizes sizes{1, 20, 0, 2, 1, 0, 40};
  std::vector<State> states = random_states(sizes, DType::kF32, 1);
  State empty(sizes, DType::kF32, 3), got(sizes, DType::kF32, 4);
  std::fill(empty.lse.begin(), empty.lse.end(), -kInfinity);
  for (std::int64_t i = 0; i < empty.out.numel(); ++i) {
    empty.out.set(i, i % 2 == 0 ? kNan : kInfinity);
  }
  for (const bool first : {true, false}) {
    std::vector<State> both = {states[0], empty};
    if (first) std::swap(both[0], both[1]);
    merge(both, got, default_context());
    EXPECT_TRUE(same_bits(got.out, states[0].out));
    EXPECT_TRUE(same_bits(got.lse, states[0].lse));
  }
  std::vector<State> nothing = {empty, empty};
  merge(nothing, got, default_context());
  for (std::int64_t i = 0; i < got.out.numel(); ++i) ASSERT_EQ(got.out.get(i), 0);
  for (const float lse : got.lse) ASSERT_EQ(lse, -kInfinity);
  nothing.clear();
  merge(nothing, got, default_context());
  for (std::int64_t i = 0; i < got.out.numel(); ++i) ASSERT_EQ(got.out.get(i), 0);
  for (const float lse : got.lse) ASSERT_EQ(lse, -kInfinity);
}

TEST(MergeStates, NanReachesItsRowOnly) {
  const Sizes sizes{1, 20, 0, 2, 1, 0, 16};
  std::vector<State> states = random_states(sizes, DType::kF32, 2);
  states[0].out.set(states[0].out.index(0, 3, 1, 5), kNan);
  states[1].lse[7] = kInfinity;  // head 0, query 7: flash-attn 2's empty row
  State got(sizes, DType::kF32, 3);
  merge(states, got, default_context());
  for (std::int64_t q = 0; q < 20; ++q) {
    for (std::int64_t h = 0; h < 2; ++h) {
      for (std::int64_t c = 0; c < 16; ++c) {
        const bool want = (q == 7 && h == 0) || (q == 3 && h == 1 && c == 5);
        ASSERT_EQ(std::isnan(got.out.get(got.out.index(0, q, h, c))), want) << q << " " << h;
      }
    }
  }
  EXPECT_TRUE(std::isnan(got.lse[7]));
}

TEST(MergeStates, InPlaceThreadsAndLevelsGiveTheSameBits) {
  const Sizes sizes{3, 150, 0, 5, 1, 0, 72};
  for (const DType dtype : {DType::kF32, DType::kBf16}) {
    std::vector<State> states = random_states(sizes, dtype, 3);
    State want(sizes, dtype, 9, true);
    ExecutionContext alone(1, Isa::kScalar);
    merge(states, want, alone);
    for (const Isa isa : supported_isas()) {
      for (const int threads : {1, 2, 13}) {
        ExecutionContext context(threads, isa);
        std::vector<State> mine = states;
        std::vector<AttentionState> views;
        for (State& s : mine) views.push_back(s.view());
        merge_states(views, mine[1].out.view(), mine[1].lse_view(), context);
        EXPECT_TRUE(same_bits(mine[1].out, want.out)) << isa_name(isa) << " " << threads;
        EXPECT_TRUE(same_bits(mine[1].lse, want.lse)) << isa_name(isa) << " " << threads;
        EXPECT_TRUE(same_bits(mine[0].out, states[0].out)) << "an input was written";
      }
    }
  }
}

// Attention over keys [begin, end) of the problem.
State attend(TestProblem& p, std::int64_t begin, std::int64_t end) {
  Sizes sizes = p.sizes;
  State state(sizes, DType::kF32, 0);
  const auto part = [&](TestTensor& t) {
    const std::int64_t shape[] = {t.shape.size(0), end - begin, t.shape.size(2), t.shape.size(3)};
    const std::int64_t strides[] = {t.shape.stride(0), t.shape.stride(1), t.shape.stride(2), 1};
    return TensorView(reinterpret_cast<float*>(t.bytes.data()) + begin * t.shape.stride(1),
                      DType::kF32, TensorShape(shape, strides));
  };
  attention(p.q.view(), part(p.k), part(p.v), state.out.view(), p.options, state.lse_view());
  return state;
}

double largest_difference(const State& a, const State& b) {
  double worst = 0;
  for (std::int64_t i = 0; i < a.out.numel(); ++i) {
    worst = std::max(worst, std::fabs(a.out.get(i) - b.out.get(i)));
  }
  for (std::size_t i = 0; i < a.lse.size(); ++i) {
    if (a.lse[i] != b.lse[i]) {
      worst = std::max(worst, std::fabs(static_cast<double>(a.lse[i]) - b.lse[i]));
    }
  }
  return worst;
}

// Cut the keys anywhere (parts may be empty), merge in any order and grouping: the whole.
RC_GTEST_PROP(MergeStatesProperty, CutAnywhereMergeInAnyOrder, ()) {
  const Sizes sizes{
      1, *rc::gen::inRange<std::int64_t>(1, 20), *rc::gen::inRange<std::int64_t>(0, 300), 2,
      1, *rc::gen::inRange<std::int64_t>(1, 40), *rc::gen::inRange<std::int64_t>(1, 40)};
  TestProblem p(sizes, DType::kF32, DType::kF32, *rc::gen::arbitrary<unsigned>());
  auto cuts = *rc::gen::container<std::vector<std::int64_t>>(
      4, rc::gen::inRange<std::int64_t>(0, sizes.kv_len + 1));
  cuts.push_back(0);
  cuts.push_back(sizes.kv_len);
  std::sort(cuts.begin(), cuts.end());
  std::vector<State> parts;
  for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
    parts.push_back(attend(p, cuts[i], cuts[i + 1]));
  }
  const State whole = attend(p, 0, sizes.kv_len);
  State merged(sizes, DType::kF32, 1);
  merge(parts, merged, default_context());
  RC_ASSERT(largest_difference(whole, merged) < 2e-6);

  // A random tree of pairs, as a ring or a reduction would merge.
  while (parts.size() > 1) {
    const auto i = *rc::gen::inRange<std::size_t>(0, parts.size());
    std::swap(parts[i], parts.back());
    State last = parts.back();
    parts.pop_back();
    const auto j = *rc::gen::inRange<std::size_t>(0, parts.size());
    merge_states({parts[j].view(), last.view()}, parts[j].out.view(), parts[j].lse_view());
  }
  RC_ASSERT(largest_difference(whole, parts[0]) < 4e-6);
}

TEST(MergeStates, EmptyTensors) {
  const Sizes sizes{2, 0, 0, 3, 1, 0, 8};
  std::vector<State> states = random_states(sizes, DType::kF32, 2);
  State got(sizes, DType::kF32, 3);
  merge(states, got, default_context());
  merge_states({AttentionState{TensorView(static_cast<float*>(nullptr), {0, 4, 2, 8}),
                               TensorView(static_cast<float*>(nullptr), {0, 2, 4})}},
               MutableTensorView(static_cast<float*>(nullptr), {0, 4, 2, 8}));
}

std::string message_of(const std::vector<AttentionState>& states, MutableTensorView out,
                       MutableTensorView lse = {}) {
  try {
    merge_states(states, out, lse);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(MergeStates, WrongUseSaysWhatIsWrong) {
  const Sizes sizes{1, 4, 0, 2, 1, 0, 8};
  State a(sizes, DType::kF32, 1), b(sizes, DType::kF32, 2), half(sizes, DType::kBf16, 3),
      wide(sizes, DType::kF64, 4), short_one({1, 3, 0, 2, 1, 0, 8}, DType::kF32, 5);
  State out(sizes, DType::kF32, 6);
  EXPECT_EQ(message_of({a.view(), short_one.view()}, out.out.view()),
            "[merge_states] q_len of states[1].out is 3, q_len of out is 4. They must be equal.");
  EXPECT_EQ(message_of({a.view(), {b.out.view(), short_one.lse_view()}}, out.out.view()),
            "[merge_states] q_len of states[1].lse is 3, q_len of out is 4. They must be equal.");
  EXPECT_EQ(message_of({a.view(), half.view()}, out.out.view()),
            "[merge_states] states[1].out is bf16, states[0].out is f32. States must have the same "
            "dtype.");
  EXPECT_EQ(message_of({a.view()}, half.out.view()),
            "[merge_states] out is bf16, the states are f32. out must have their dtype, or be f32 "
            "(but not of f64).");
  EXPECT_EQ(message_of({wide.view()}, out.out.view()),
            "[merge_states] out is f32, the states are f64. out must have their dtype, or be f32 "
            "(but not of f64).");
  EXPECT_EQ(message_of({a.view(), {b.out.view(), {}}}, out.out.view()),
            "[merge_states] states[1].lse has shape []. It must have rank 3: [batch, n_heads, "
            "q_len].");
  EXPECT_EQ(message_of({a.view()}, a.lse_view()),
            "[merge_states] out has shape [1, 2, 4]. It must have rank 4: [batch, q_len, n_heads, "
            "v_dim].");
  std::vector<float> memory(1000);
  const MutableTensorView here(memory.data(), {1, 4, 2, 8}), there(memory.data() + 8, {1, 4, 2, 8});
  EXPECT_EQ(message_of({{here, a.lse_view()}}, there),
            "[merge_states] out and states[0].out overlap in memory. They must not.");
  EXPECT_EQ(message_of({a.view()}, out.out.view(), {memory.data(), {1, 2, 5}}),
            "[merge_states] q_len of lse is 5, q_len of out is 4. They must be equal.");
  EXPECT_EQ(message_of({a.view()}, here, {memory.data() + 3, {1, 2, 4}}),
            "[merge_states] out and lse overlap in memory. They must not.");
}

}  // namespace
}  // namespace raptly
