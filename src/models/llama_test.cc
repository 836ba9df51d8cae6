// Tiny random models against the logits that transformers computes (tools/make_goldens.py).
#include <gtest/gtest.h>

#include <cmath>
#include <ostream>

#include "formats/checkpoint.h"
#include "models/test_models.h"
#include "raptly/error.h"

namespace raptly {
namespace {

using test::testdata;

std::vector<double> read(const Checkpoint& file, const std::string& name) {
  const CheckpointTensor& tensor = file.get(name);
  std::int64_t n = 1;
  for (const std::int64_t size : tensor.shape) n *= size;
  std::vector<double> values(static_cast<std::size_t>(n));
  dequantize(tensor.type, tensor.data.data(), n, values.data());
  return values;
}

struct GoldenCase {
  std::vector<std::int32_t> tokens;
  std::vector<std::int64_t> rows;
  std::vector<double> logits;
};

std::vector<GoldenCase> golden_cases(const std::string& name) {
  const auto file = open_checkpoint(testdata(name + ".golden.safetensors"));
  std::vector<GoldenCase> cases;
  for (int i = 0; file->find("tokens." + std::to_string(i)) != nullptr; ++i) {
    GoldenCase c;
    for (const double t : read(*file, "tokens." + std::to_string(i))) {
      c.tokens.push_back(static_cast<std::int32_t>(t));
    }
    for (const double r : read(*file, "rows." + std::to_string(i))) {
      c.rows.push_back(static_cast<std::int64_t>(r));
    }
    c.logits = read(*file, "logits." + std::to_string(i));
    cases.push_back(std::move(c));
  }
  return cases;
}

struct GoldenModel {
  const char* model;
  const char* golden;
};
void PrintTo(const GoldenModel& g, std::ostream* out) { *out << g.model; }

class LlamaGolden : public testing::TestWithParam<GoldenModel> {};

TEST_P(LlamaGolden, LogitsAsTransformers) {
  ExecutionContext context(2);
  const auto model = load_model(testdata(GetParam().model), {.exact = true}, context);
  const std::vector<GoldenCase> cases = golden_cases(GetParam().golden);
  ASSERT_GE(cases.size(), 3u);
  ContiguousCache cache(model->cache_shape(DType::kF32), 512);
  for (const GoldenCase& c : cases) {
    const std::vector<float> logits =
        test::forward_rows(*model, cache, cache.add_sequence(), c.tokens, c.rows, context);
    ASSERT_EQ(logits.size(), c.logits.size());
    double worst = 0;
    for (std::size_t i = 0; i < logits.size(); ++i) {
      worst = std::max(worst, std::fabs(static_cast<double>(logits[i]) - c.logits[i]));
    }
    EXPECT_LT(worst, 1e-4) << c.tokens.size() << " tokens";
  }
}

INSTANTIATE_TEST_SUITE_P(
    Files, LlamaGolden,
    testing::Values(GoldenModel{"llama", "llama"}, GoldenModel{"llama.gguf", "llama"},
                    GoldenModel{"llama3", "llama3"}, GoldenModel{"mistral", "mistral"},
                    GoldenModel{"qwen2", "qwen2"}, GoldenModel{"quantized.gguf", "quantized"}));

// Int16 activations stay within their promised error of the exact model.
TEST(Llama, DefaultIsCloseToExact) {
  ExecutionContext context(2);
  const auto model = load_model(testdata("quantized.gguf"), {}, context);
  ContiguousCache cache(model->cache_shape(DType::kF16), 512);
  for (const GoldenCase& c : golden_cases("quantized")) {
    const std::vector<float> logits =
        test::forward_rows(*model, cache, cache.add_sequence(), c.tokens, c.rows, context);
    double squares = 0, differences = 0;
    for (std::size_t i = 0; i < logits.size(); ++i) {
      const double d = static_cast<double>(logits[i]) - c.logits[i];
      differences += d * d;
      squares += c.logits[i] * c.logits[i];
    }
    EXPECT_LT(std::sqrt(differences / squares), 2e-3);
    EXPECT_GT(differences, 0) << "int16 activations were not used";
  }
}

// The same numbers in GGUF's interleaved order and in HF's half order give the same bits.
TEST(Llama, GgufAndHfDirectoryEqualInBits) {
  ExecutionContext context(2);
  const std::vector<std::int32_t> tokens = test::some_tokens(40, 160);
  std::vector<std::vector<float>> logits;
  for (const char* name : {"llama", "llama.gguf"}) {
    const auto model = load_model(testdata(name), {}, context);
    ContiguousCache cache(model->cache_shape(DType::kF32), 64);
    logits.push_back(test::forward_rows(*model, cache, cache.add_sequence(), tokens,
                                        test::all_rows(tokens.size()), context));
  }
  EXPECT_EQ(logits[0], logits[1]);
}

TEST(Llama, ConfigOfFiles) {
  const auto qwen = load_model(testdata("qwen2"));
  EXPECT_EQ(qwen->config().architecture, "qwen2");
  EXPECT_EQ(qwen->config().n_heads, 6);
  EXPECT_EQ(qwen->config().n_kv_heads, 2);
  EXPECT_EQ(qwen->config().head_dim, 16);
  EXPECT_EQ(load_model(testdata("mistral"))->config().window, 16);
  const auto quantized = load_model(testdata("quantized.gguf"));
  EXPECT_EQ(quantized->config().max_positions, 256);
  EXPECT_GT(quantized->weight_bytes(), 50000u);
}

TEST(Llama, ProgressRunsFromZeroToOne) {
  std::vector<double> seen;
  load_model(testdata("llama"),
             {.exact = false, .progress = [&](double done) { seen.push_back(done); }});
  ASSERT_GE(seen.size(), 3u);
  EXPECT_EQ(seen.front(), 0);
  EXPECT_EQ(seen.back(), 1);
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
}

TEST(Llama, NoTokenizerIsAnError) {
  const auto model = load_model(testdata("llama"));
  try {
    model->tokenizer();
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kNotFound);
  }
}

}  // namespace
}  // namespace raptly
