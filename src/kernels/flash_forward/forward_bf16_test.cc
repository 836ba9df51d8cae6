// The row of the level avx512_bf16 (docs/numerics.md), pinned: an emulation of vdpbf16ps, and the
// whole row in scalar code, both compared bit by bit. Its leaf functions are there on x86 only.
#if defined(__x86_64__)
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/cpu_features.h"
#include "kernels/flash_forward/bf16_leaf.h"
#include "kernels/flash_forward/forward_test_case.h"

namespace raptly::testing {
namespace {

constexpr float kLog2E = 1.44269504f;
constexpr float kLimit = 4194048.0f;

float flushed(float x) {
  return std::fabs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x;  // NaN stays
}

// Denormals are zero going in and coming out, whatever MXCSR says; tininess is found before the
// result is rounded. The odd element first.
float dot_pair(float sum, Bf16 a_even, Bf16 a_odd, Bf16 b_even, Bf16 b_odd) {
  const auto step = [](float a, float b, float c) {
    return flushed(std::fma(flushed(a), flushed(b), flushed(c)));
  };
  sum = step(to_float(a_odd), to_float(b_odd), sum);
  return step(to_float(a_even), to_float(b_even), sum);
}

// Random bits: normal numbers of all sizes, denormals, zeros, infinities and NaN.
Bf16 any_bf16(RandomValues& random) {
  Bf16 x;
  x.bits = static_cast<std::uint16_t>(random.bits() >> 20);
  switch (random.below(8)) {
    case 0:
      x.bits = x.bits & 0x807f;  // denormal
      break;
    case 1:
      x.bits = static_cast<std::uint16_t>((x.bits & 0x807f) | (random.below(9) + 60) << 7);
      break;
    case 2:
    case 3:
    case 4:
      x.bits = static_cast<std::uint16_t>((x.bits & 0x807f) | (random.below(9) + 123) << 7);
      break;
    default:
      break;
  }
  return x;
}

bool has_level() {
  const auto& levels = supported_isas();
  return std::find(levels.begin(), levels.end(), Isa::kAvx512Bf16) != levels.end();
}

std::uint32_t pair_of(Bf16 even, Bf16 odd) { return even.bits | std::uint32_t{odd.bits} << 16; }

TEST(Bf16Dot, IsTheEmulation) {
  if (!has_level()) GTEST_SKIP() << "this machine has not the level";
  RandomValues random(5);
  constexpr int kKeys = 16, kPairs = 5;
  for (int round = 0; round < 3000; ++round) {
    std::vector<Bf16> q(2 * kPairs), k(2 * kPairs * kKeys);
    for (Bf16& x : q) x = any_bf16(random);
    for (Bf16& x : k) x = any_bf16(random);
    std::vector<std::uint32_t> q_words(kPairs), k_tile(kPairs * kKeys);
    for (std::size_t t = 0; t < kPairs; ++t) {
      q_words[t] = pair_of(q[2 * t], q[2 * t + 1]);
      for (std::size_t key = 0; key < kKeys; ++key) {
        k_tile[t * kKeys + key] = pair_of(k[(key * kPairs + t) * 2], k[(key * kPairs + t) * 2 + 1]);
      }
    }
    float scores[kKeys];
    bf16_leaf::row_scores({q_words.data(), kPairs, 1, k_tile.data(), kPairs, 1, scores, kKeys});
    for (std::size_t key = 0; key < kKeys; ++key) {
      float sum = 0;
      for (std::size_t t = 0; t < kPairs; ++t) {
        const Bf16* row = &k[(key * kPairs + t) * 2];
        sum = dot_pair(sum, q[2 * t], q[2 * t + 1], row[0], row[1]);
      }
      ASSERT_TRUE(same_bits(sum, scores[key])) << round << ": " << sum << ", " << scores[key];
    }
  }
}

float nearest_integer(float x) {  // of |x| < 2^22, ties to even
  const float magic = 12582912.0f;
  return (x + magic) - magic;
}

struct RowState {
  float m = -kLimit, l = 0;
  std::vector<float> o;
};

// 2^(scale * s - m) by its definition.
float power(float s, float scale, float m) {
  const float low = (m - 127.0f) / scale;
  const float x = low > s ? low : s;
  const float shift = 12582912.0f + 127.0f - m;
  const float z = std::fma(x, scale, shift);
  const float n = z - shift, f = std::fma(x, scale, -n);
  float p = 0x1.399a68p-7f;
  for (const float c : {0x1.ca134cp-5f, 0x1.ec06c2p-3f, 0x1.62e0e0p-1f, 0x1.ffffe8p-1f}) {
    p = std::fma(p, f, c);
  }
  return n - m <= -127 ? 0.0f : flushed(p * std::exp2(n - m));
}

struct RowAndKeys {
  std::int64_t query;
  int head;
  std::int64_t begin, end;  // keys
};

// Keys of one block into the state of a row, as the ten rules say.
void add_block(const ForwardData& data, const RowAndKeys& of, const MaskPredicate& sees,
               RowState& state) {
  const ForwardCase& c = data.problem();
  const auto& [query, head, begin, end] = of;
  const int kv_head = head / c.group();
  const float scale = c.used_scale() * kLog2E;
  std::vector<float> s(static_cast<std::size_t>(kBlockKeys), -INFINITY);
  float best = -INFINITY;
  for (std::int64_t key = begin; key < end; ++key) {
    if (!sees(query, key)) continue;
    float dot = 0;
    const auto q = [&](int d) {
      return to_bf16(d < c.head_dim ? data.q.value(query, head, d) : 0);
    };
    const auto k = [&](int d) {
      return to_bf16(d < c.head_dim ? data.k.value(key, kv_head, d) : 0);
    };
    for (int d = 0; d < c.head_dim; d += 2) dot = dot_pair(dot, q(d), q(d + 1), k(d), k(d + 1));
    s[static_cast<std::size_t>(key - begin)] = dot;
    best = std::max(best, dot);
  }
  if (best * scale > state.m + 8) {
    const float raised = 2 * nearest_integer(best * scale / 2);
    const float factor = state.m - raised < -126 ? 0.0f : std::exp2(state.m - raised);
    state.m = raised;
    state.l *= factor;
    for (float& o : state.o) o *= factor;
  }
  float part[8] = {};
  std::vector<Bf16> p(s.size());
  for (std::size_t i = 0; i < s.size(); ++i) {
    const float x = s[i] == -INFINITY ? 0.0f : power(s[i], scale, state.m);
    part[i % 8] += x;
    p[i] = to_bf16(x);
  }
  state.l +=
      ((part[0] + part[4]) + (part[2] + part[6])) + ((part[1] + part[5]) + (part[3] + part[7]));
  for (std::int64_t key = begin; key < end; key += 2) {
    const auto i = static_cast<std::size_t>(key - begin);
    for (int d = 0; d < c.v_dim; ++d) {
      const Bf16 even = to_bf16(data.v.value(key, kv_head, d));
      const Bf16 odd = to_bf16(key + 1 < end ? data.v.value(key + 1, kv_head, d) : 0.0f);
      float& o = state.o[static_cast<std::size_t>(d)];
      o = dot_pair(o, p[i], p[i + 1], even, odd);
    }
  }
}

Outputs emulate(const ForwardData& data) {
  const ForwardCase& c = data.problem();
  const MaskPredicate sees(c.mask, c.scope());
  Outputs result;
  result.lse.resize(static_cast<std::size_t>(c.q_len * c.n_heads));
  for (std::int64_t t = 0; t < c.q_len; ++t) {
    for (int h = 0; h < c.n_heads; ++h) {
      RowState total, split;
      total.o.assign(static_cast<std::size_t>(c.v_dim), 0.0f);
      for (std::int64_t first = 0; first < c.kv_len; first += kSplitKeys) {
        split = RowState();
        split.o.assign(total.o.size(), 0.0f);
        const std::int64_t split_end = std::min(first + kSplitKeys, c.kv_len);
        for (std::int64_t b = first; b < split_end; b += kBlockKeys) {
          add_block(data, {t, h, b, std::min(b + kBlockKeys, split_end)}, sees, split);
        }
        const float m = std::max(total.m, split.m);
        const auto factor = [&](float of) { return of - m < -126 ? 0.0f : std::exp2(of - m); };
        total.l = std::fma(split.l, factor(split.m), total.l * factor(total.m));
        for (std::size_t d = 0; d < total.o.size(); ++d) {
          total.o[d] = std::fma(split.o[d], factor(split.m), total.o[d] * factor(total.m));
        }
        total.m = m;
      }
      const float inverse = total.l == 0 ? 0.0f : 1.0f / total.l;
      for (const float o : total.o) result.out.push_back(o * inverse + 0.0f);
      const double lse = (static_cast<double>(total.m) + std::log2(static_cast<double>(total.l))) *
                         0.6931471805599453;
      result.lse[static_cast<std::size_t>(h * c.q_len + t)] =
          total.l == 0 ? -INFINITY : static_cast<float>(lse);
    }
  }
  return result;
}

TEST(Bf16Row, IsTheEmulation) {
  if (!has_level()) GTEST_SKIP() << "this machine has not the level";
  for (const float amplitude : {1.0f, 6.0f}) {
    for (const int dim : {64, 19}) {
      ForwardCase c;
      c.q_len = 9, c.kv_len = 1167, c.n_heads = 4, c.n_kv_heads = 2;
      c.head_dim = dim, c.v_dim = dim + 5;
      c.q_dtype = c.kv_dtype = DType::kBf16;
      c.k_amplitude = amplitude;
      c.mask = Mask::parse("causal & window(1100, 0)");
      ForwardData data(c);
      const Outputs expected = emulate(data);
      EXPECT_EQ(count_different(expected, run_prefill(data, Isa::kAvx512Bf16)), 0) << dim;
      EXPECT_EQ(count_different(expected, run_decode(data, Isa::kAvx512Bf16)), 0) << dim;
    }
  }
}

// 2^x over the whole range of |f| <= 1/2: the weight, before it is rounded, is read from the sum of
// one key.
TEST(Bf16Row, PowerWithinFourPartsInAMillion) {
  if (!has_level()) GTEST_SKIP() << "this machine has not the level";
  double worst = 0;
  std::vector<float> scores(16, -INFINITY);
  std::vector<Bf16> p(16);
  for (int i = -60000; i <= 60000; ++i) {
    scores[0] = static_cast<float>(i) / 40000.0f;
    const float actual =
        bf16_leaf::row_weights({scores.data(), 16, 1.0f, -127.0f, 12582912.0f + 127.0f, p.data()});
    const double exact = std::exp2(static_cast<double>(scores[0]));
    worst = std::max(worst, std::fabs(static_cast<double>(actual) / exact - 1));
    ASSERT_EQ(p[0].bits, to_bf16(actual).bits);
  }
  EXPECT_LE(worst, 4e-6);
  EXPECT_GT(worst, 1e-7);
}

// Scales that fold into the dot products, and those that cannot; scores beyond the limit count as
// it, as they do at the f32 levels.
TEST(Bf16Row, AnyScale) {
  if (!has_level()) GTEST_SKIP() << "this machine has not the level";
  for (const float scale : {1e-30f, 1e-6f, -0.2f, 1.0f, 700.0f, -1e25f, 1e36f}) {
    ForwardCase c;
    c.q_len = 5, c.kv_len = 200, c.head_dim = 24, c.v_dim = 8;
    c.q_dtype = c.kv_dtype = DType::kBf16;
    c.scale = scale;
    ForwardData data(c);
    const Outputs expected = run_prefill(data, Isa::kAvx512);
    const Outputs actual = run_prefill(data, Isa::kAvx512Bf16);
    EXPECT_EQ(count_different(actual, run_decode(data, Isa::kAvx512Bf16)), 0) << scale;
    for (std::size_t i = 0; i < actual.out.size(); ++i) {
      ASSERT_NEAR(actual.out[i], expected.out[i], 0.02) << scale;
    }
  }
}

}  // namespace
}  // namespace raptly::testing
#endif
