// The parity profiles hf_longformer and hf_bigbird against the outputs of transformers' layers
// (tools/make_attention_goldens.py): semantics.md items 24 and 25.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "attention/test_problem.h"
#include "mask/base64.h"

namespace raptly {
namespace {

using namespace attention_testing;

// Numbers in [-1, 1) that are exact in f32, as the tool makes them.
std::vector<float> noise(std::uint64_t seed, std::int64_t n) {
  std::vector<float> out;
  for (std::int64_t i = 0; i < n; ++i) {
    std::uint64_t x = (static_cast<std::uint64_t>(i) + seed * 1000003) * 0x9E3779B97F4A7C15u;
    x ^= x >> 29;
    x *= 0xBF58476D1CE4E5B9u;
    x ^= x >> 32;
    out.push_back(static_cast<float>(x >> 40) / 8388608.0f - 1);
  }
  return out;
}

struct Golden {
  std::string kind;
  std::int64_t batch = 0, seq = 0, n_heads = 0, head_dim = 0, stride = 1;
  std::vector<std::int64_t> numbers;  // of the layer; -1: None
  std::vector<std::vector<std::int64_t>> mask;
  std::vector<float> out;  // [batch, rows, n_heads * head_dim]

  std::int64_t width() const { return n_heads * head_dim; }
  std::int64_t rows() const { return (seq + stride - 1) / stride; }
};

std::vector<Golden> read_goldens() {
  std::ifstream file(std::string(RAPTLY_SOURCE_DIR) + "/src/attention/testdata/hf_layers.txt");
  std::vector<Golden> goldens;
  for (std::string line; std::getline(file, line);) {
    Golden g;
    std::istringstream numbers(line);
    numbers >> g.kind >> g.batch >> g.seq >> g.n_heads >> g.head_dim >> g.stride;
    for (std::int64_t n = 0; numbers >> n;) g.numbers.push_back(n);
    std::getline(file, line);
    std::istringstream masks(line);
    for (std::string row; masks >> row;) {
      g.mask.emplace_back();
      for (const char c : row) g.mask.back().push_back(c - '0');
    }
    std::getline(file, line);
    const auto bytes = mask_detail::from_base64(line);
    g.out.resize(bytes.size() / 4);
    std::memcpy(g.out.data(), bytes.data(), bytes.size());
    goldens.push_back(g);
  }
  return goldens;
}

// hidden times the weights of projection n, plus its bias: [batch, seq, n_heads, head_dim].
TestTensor project(const Golden& g, std::uint64_t n) {
  const std::vector<float> hidden = noise(1, g.batch * g.seq * g.width());
  const std::vector<float> weight = noise(10 + n, g.width() * g.width());
  const std::vector<float> bias = noise(30 + n, g.width());
  TestTensor out(DType::kF32, {g.batch, g.seq, g.n_heads, g.head_dim});
  const auto width = static_cast<std::size_t>(g.width());
  for (std::size_t t = 0; t < static_cast<std::size_t>(g.batch * g.seq); ++t) {
    for (std::size_t o = 0; o < width; ++o) {
      double sum = static_cast<double>(bias[o]) / 4;
      for (std::size_t i = 0; i < width; ++i) {
        sum +=
            static_cast<double>(hidden[t * width + i]) * static_cast<double>(weight[o * width + i]);
      }
      out.set(static_cast<std::int64_t>(t * width + o), sum);
    }
  }
  return out;
}

Mask profile(const Golden& g) {
  if (g.kind == "longformer") return mask::hf_longformer(g.numbers[0], g.mask);
  mask::HfBigBirdOptions options;
  options.block_size = g.numbers[0];
  options.num_random_blocks = g.numbers[1];
  if (g.numbers[2] >= 0) {
    options.seed = g.numbers[2];
    options.n_heads = g.n_heads;
    options.seq_len = g.seq;
  }
  return mask::hf_bigbird(options, g.mask);
}

TEST(HfLayers, ProfilesGiveTheLayersOutputs) {
  const std::vector<Golden> goldens = read_goldens();
  ASSERT_EQ(goldens.size(), 11u);
  for (std::size_t at = 0; at < goldens.size(); ++at) {
    const Golden& g = goldens[at];
    SCOPED_TRACE(g.kind + " case " + std::to_string(at));
    TestTensor q = project(g, 0), k = project(g, 1), v = project(g, 2);
    TestTensor q2 = project(g, 3), k2 = project(g, 4), v2 = project(g, 5);
    TestTensor out(DType::kF32, {g.batch, g.seq, g.n_heads, g.head_dim});
    AttentionOptions options;
    options.mask = profile(g);
    EXPECT_EQ(Mask::parse(options.mask.to_string()), options.mask);
    if (g.kind == "longformer" && at > 0) {
      options.q_global = q2.view();
      options.k_global = k2.view();
      options.v_global = v2.view();
    }
    attention(q.view(), k.view(), v.view(), out.view(), options);
    double worst = 0;
    for (std::int64_t b = 0; b < g.batch; ++b) {
      for (std::int64_t r = 0; r < g.rows(); ++r) {
        for (std::int64_t c = 0; c < g.width(); ++c) {
          const double got = out.get((b * g.seq + r * g.stride) * g.width() + c);
          const double want = g.out[static_cast<std::size_t>((b * g.rows() + r) * g.width() + c)];
          worst = std::max(worst, std::fabs(got - want));
        }
      }
    }
    EXPECT_LE(worst, 5e-6);
  }
}

// A block that is listed twice: prefill and decode, levels and threads agree in bits, and with f64.
TEST(HfLayers, BlocksThatCountTwiceKeepTheContract) {
  for (const std::int64_t len : {16, 300}) {  // one head a group and 16 rows: decode
    TestProblem p({2, len, len, 2, 2, 40, 40}, DType::kF32, DType::kF32, 3);
    mask::HfBigBirdOptions options;
    options.block_size = len / 16;
    options.num_random_blocks = 3;
    p.options.mask = mask::hf_bigbird(options);
    TestProblem first = p;
    first.run(default_context());
    for (const Isa isa : supported_isas()) {
      ExecutionContext context(3, isa);
      p.run(context);
      EXPECT_TRUE(same_bits(p.out, first.out)) << isa_name(isa);
      EXPECT_TRUE(same_bits(p.lse, first.lse)) << isa_name(isa);
      check_against_reference(p, context);
    }
    options.num_random_blocks = 0;
    p.options.mask = mask::hf_bigbird(options);
    p.run(default_context());
    EXPECT_FALSE(same_bits(p.out, first.out)) << "nothing was counted twice";
  }
}

TEST(HfLayers, DecodeAndPrefillCountTwiceAlike) {
  // 16 rows a head run as decode; with two heads a group they are 32 and run as prefill.
  mask::HfBigBirdOptions options;
  options.block_size = 1;
  options.num_random_blocks = 2;
  TestProblem prefill({1, 16, 16, 2, 1, 24, 24}, DType::kF32, DType::kF32, 4);
  prefill.options.mask = mask::hf_bigbird(options);
  prefill.run(default_context());
  TestProblem decode({1, 16, 16, 1, 1, 24, 24}, DType::kF32, DType::kF32, 5);
  decode.options.mask = prefill.options.mask;
  decode.k = prefill.k;
  decode.v = prefill.v;
  for (std::int64_t i = 0; i < 16; ++i) {
    for (std::int64_t d = 0; d < 24; ++d) {
      decode.q.set(decode.q.index(0, i, 0, d), prefill.q.get(prefill.q.index(0, i, 1, d)));
    }
  }
  decode.run(default_context());
  for (std::int64_t i = 0; i < 16; ++i) {
    for (std::int64_t d = 0; d < 24; ++d) {
      ASSERT_EQ(decode.out.get(decode.out.index(0, i, 0, d)),
                prefill.out.get(prefill.out.index(0, i, 1, d)));
    }
  }
}

}  // namespace
}  // namespace raptly
