#include "cli/inspect.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "raptly/error.h"

namespace raptly {
namespace {

const std::string kModel = RAPTLY_SOURCE_DIR "/src/models/testdata/llama.gguf";

TEST(Inspect, TextNamesMetadataAndTensors) {
  std::ostringstream out;
  EXPECT_EQ(inspect_command(kModel, false, out), 0);
  EXPECT_NE(out.str().find("GGUF, "), std::string::npos);
  EXPECT_NE(out.str().find("general.architecture"), std::string::npos);
  EXPECT_NE(out.str().find("token_embd.weight"), std::string::npos);
  EXPECT_NE(out.str().find("M weights"), std::string::npos);
}

TEST(Inspect, JsonIsWhole) {
  std::ostringstream out;
  EXPECT_EQ(inspect_command(kModel, true, out), 0);
  const auto parsed = nlohmann::json::parse(out.str());
  EXPECT_EQ(parsed["format"], "GGUF");
  EXPECT_EQ(parsed["metadata"]["general.architecture"], "llama");
  std::size_t bytes = 0;
  for (const auto& tensor : parsed["tensors"]) bytes += tensor["bytes"].get<std::size_t>();
  EXPECT_GT(bytes, 0u);
  EXPECT_LT(bytes, parsed["bytes"].get<std::size_t>());
}

TEST(Inspect, MissingFiles) {
  std::ostringstream out;
  EXPECT_THROW(inspect_command("/nonexistent", false, out), Error);
  EXPECT_TRUE(out.str().empty());
}

}  // namespace
}  // namespace raptly
