// Golden hashes of attention's bits (DESIGN: "hashes in the tree hold on every machine"): any level
// with FMA, any compiler, any thread count. A change of arithmetic changes them, and must say so.
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "attention/test_problem.h"

namespace raptly {
namespace {

using namespace attention_testing;

// Multiples of 2^-14 below 2 in absolute value: mt19937 is fixed by the standard, its
// distributions are not.
void fill_exactly(TestTensor& tensor, std::mt19937& random) {
  for (std::int64_t i = 0; i < tensor.numel(); ++i) {
    tensor.set(i, (static_cast<double>(random() >> 16) - 32768.0) / 16384.0);
  }
}

// FNV-1a over the bytes of out, then lse.
std::uint64_t hash_of(const TestProblem& problem) {
  std::uint64_t h = 14695981039346656037u;
  const auto add = [&](const void* bytes, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) {
      h = (h ^ static_cast<const unsigned char*>(bytes)[i]) * 1099511628211u;
    }
  };
  add(problem.out.bytes.data(), problem.out.bytes.size());
  add(problem.lse.data(), problem.lse.size() * sizeof(float));
  return h;
}

struct Golden {
  const char* name;
  Sizes sizes;
  DType kv;
  const char* mask;
  std::uint64_t hash;
  const char* bias = "";
};

// Numbers that are exact in f32.
struct GoldenBias {
  std::vector<float> numbers;
  Bias bias;

  GoldenBias(const std::string& kind, const Sizes& s) {
    if (kind == "alibi") bias = bias::alibi(bias::alibi_slopes(s.n_heads));
    const bool relative = kind == "relative";
    if (!relative && kind != "dense") return;
    const std::int64_t n = relative ? s.n_heads * 101 : s.n_heads * s.q_len * s.kv_len;
    for (std::int64_t i = 0; i < n; ++i) {
      numbers.push_back(static_cast<float>(i * 37 % 101 - 50) / 32.0f);
    }
    bias = relative ? bias::relative({numbers.data(), {s.n_heads, 101}})
                    : bias::dense({numbers.data(), {1, s.n_heads, s.q_len, s.kv_len}});
  }
};

class Hashes : public testing::TestWithParam<Golden> {};

TEST_P(Hashes, HoldOnEveryMachine) {
  const Golden& golden = GetParam();
  TestProblem problem(golden.sizes, DType::kF32, golden.kv, 1);
  problem.options.mask = Mask::parse(golden.mask);
  const GoldenBias bias(golden.bias, golden.sizes);
  problem.options.bias = bias.bias;
  std::mt19937 random(20240229);
  fill_exactly(problem.q, random);
  fill_exactly(problem.k, random);
  fill_exactly(problem.v, random);
  for (const int threads : {1, 3}) {
    ExecutionContext context(threads);
    problem.run(context);
    EXPECT_EQ(hash_of(problem), golden.hash) << std::hex << "0x" << hash_of(problem);
  }
}

INSTANTIATE_TEST_SUITE_P(Golden, Hashes,
                         testing::Values(Golden{"prefill_f32",
                                                {2, 150, 2300, 6, 2, 64, 64},
                                                DType::kF32,
                                                "causal",
                                                0x30f5903293d5fc84u},
                                         Golden{"prefill_odd",
                                                {1, 77, 301, 3, 3, 80, 48},
                                                DType::kF32,
                                                "window(100, 20)",
                                                0xb056ccbf9967578au},
                                         Golden{"prefill_bf16",
                                                {1, 130, 1100, 4, 1, 128, 128},
                                                DType::kBf16,
                                                "causal",
                                                0x08c1de736c780445u},
                                         Golden{"decode_f32",
                                                {3, 1, 2100, 8, 2, 128, 128},
                                                DType::kF32,
                                                "causal",
                                                0x1dd6d8b5697c0215u},
                                         Golden{"decode_f16",
                                                {1, 4, 1500, 4, 4, 64, 64},
                                                DType::kF16,
                                                "causal & window(900, 0)",
                                                0x7c4eab3d0cc9a68eu},
                                         Golden{"prefill_alibi",
                                                {1, 70, 1300, 6, 2, 64, 64},
                                                DType::kF32,
                                                "causal",
                                                0xbfe8397f904b4ce1u,
                                                "alibi"},
                                         Golden{"prefill_relative",
                                                {2, 61, 300, 3, 1, 40, 24},
                                                DType::kF16,
                                                "window(150, 30)",
                                                0x0d2c715242576167u,
                                                "relative"},
                                         Golden{"prefill_dense",
                                                {1, 50, 290, 4, 4, 64, 32},
                                                DType::kF32,
                                                "causal",
                                                0x284ab4b9c25d75f3u,
                                                "dense"},
                                         Golden{"decode_alibi",
                                                {1, 1, 1500, 8, 2, 64, 64},
                                                DType::kBf16,
                                                "causal",
                                                0x4b9ac920246aceceu,
                                                "alibi"},
                                         Golden{"decode_dense",
                                                {2, 3, 400, 4, 2, 64, 64},
                                                DType::kF32,
                                                "all",
                                                0xe8180edcee83378au,
                                                "dense"},
                                         Golden{"decode_relative",
                                                {1, 2, 400, 4, 2, 64, 64},
                                                DType::kF32,
                                                "causal",
                                                0xb339089788b78b47u,
                                                "relative"}),
                         [](const auto& golden) { return std::string(golden.param.name); });

}  // namespace
}  // namespace raptly
