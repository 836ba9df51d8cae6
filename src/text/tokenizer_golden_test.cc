// Ids against HF tokenizers, as recorded by tools/make_tokenizer_goldens.py.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "raptly/tokenizer.h"

namespace raptly {
namespace {

using nlohmann::json;

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in.good()) << path;
  return {std::istreambuf_iterator<char>(in), {}};
}

json read_json(const std::string& path) { return json::parse(read_file(path)); }

void expect_equal_ids(const Tokenizer& tokenizer, const json& strings, const json& ids) {
  ASSERT_EQ(strings.size(), ids.size());
  int differ = 0;
  for (std::size_t i = 0; i < strings.size() && differ < 5; ++i) {
    const auto text = strings[i].get<std::string>();
    const auto got = tokenizer.encode(text, SpecialTokens::kParse);
    if (json(got) != ids[i]) {
      ++differ;
      ADD_FAILURE() << "string " << i << ": " << strings[i].dump() << "\n got " << json(got).dump()
                    << "\nwant " << ids[i].dump();
    }
  }
}

class TokenizerGolden : public testing::TestWithParam<const char*> {};

TEST_P(TokenizerGolden, IdsEqualHfTokenizers) {
  const std::string folder = std::string(RAPTLY_SOURCE_DIR) + "/src/text/testdata/";
  TokenizerSpec spec = tokenizer_spec_from_json(read_file(folder + "tokenizer.json"), "");
  EXPECT_EQ(spec.pre_tokenizer, "smollm");
  spec.pre_tokenizer = GetParam();
  spec.nfc.reset();  // as the pre-tokenizer's own model: qwen2 normalises
  const Tokenizer tokenizer(std::move(spec));
  const json goldens = read_json(folder + "tokenizer_goldens.json");
  json ids = goldens.at(GetParam());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i].is_null()) ids[i] = goldens.at("gpt-2")[i];
  }
  expect_equal_ids(tokenizer, read_json(folder + "tokenizer_cases.json"), ids);
}

INSTANTIATE_TEST_SUITE_P(All, TokenizerGolden,
                         testing::Values("gpt-2", "llama-bpe", "qwen2", "smollm"));

// The folder that tools/compare_tokenizer.py makes from a real model's vocabulary.
TEST(TokenizerModelSlow, IdsEqualHfTokenizers) {
  const char* folder = std::getenv("RAPTLY_TOKENIZER_CASES");
  if (folder == nullptr) GTEST_SKIP() << "run tools/compare_tokenizer.py MODEL.gguf";
  const std::string path = std::string(folder) + "/";
  const Tokenizer tokenizer(tokenizer_spec_from_json(read_file(path + "tokenizer.json"), ""));
  expect_equal_ids(tokenizer, read_json(path + "cases.json"), read_json(path + "goldens.json"));
}

}  // namespace
}  // namespace raptly
