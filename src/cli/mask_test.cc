// `raptly mask`: the picture, the figures, the PNG, and what users get wrong.
#include <gtest/gtest.h>
#include <png.h>
#include <sys/stat.h>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "cli/mask_picture.h"
#include "cli/test_program.h"
#include "raptly/error.h"

namespace raptly::test {
namespace {

using nlohmann::json;

ProgramRun run_mask(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "mask");
  return run_program(arguments);
}

TEST(MaskCommand, Json) {
  const ProgramRun run = run_mask({"causal & window(256, 0)", "--q", "1024", "--json"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const json r = json::parse(run.out);
  EXPECT_EQ(r["mask"], "causal & window(256, 0)");
  const double pairs = 257.0 * 1024 - 256 * 257 / 2;
  EXPECT_EQ(r["visible_pairs"], pairs);
  EXPECT_DOUBLE_EQ(r["density"], pairs / (1024.0 * 1024));
  EXPECT_EQ(r["tiles"], 16 * 8);
  EXPECT_EQ(
      r["tiles_full"].get<int>() + r["tiles_partial"].get<int>() + r["tiles_empty"].get<int>(),
      128);
  EXPECT_DOUBLE_EQ(r["flops"], 256 * pairs);
  EXPECT_DOUBLE_EQ(r["flops_saved"], 256 * (1024.0 * 1024 - pairs));
}

TEST(MaskCommand, SmallMasksShowEveryPair) {
  const ProgramRun run = run_mask({"prefix(2)", "--q", "3", "--kv", "4"});
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_EQ(run.err, "");
  EXPECT_NE(run.out.find("┌────────┐\n"
                         "│████· · │\n"
                         "│██████· │\n"
                         "│████████│\n"
                         "└────────┘\n"),
            std::string::npos)
      << run.out;
  EXPECT_NE(run.out.find("density    75 % of 12 pairs"), std::string::npos) << run.out;
  EXPECT_EQ(run.out.find('\033'), std::string::npos);  // no colours needed
}

TEST(MaskPicture, LargeMasksAreHalfBlocksAndShades) {
  EXPECT_EQ(mask_text_picture(mask::causal(), {.q_len = 8, .kv_len = 8}, 12),
            "┌────────┐\n"
            "│█▄      │\n"
            "│███▄    │\n"
            "│█████▄  │\n"
            "│███████▄│\n"
            "└────────┘\n");
  const std::string thin =
      mask_text_picture(mask::window(0, 0), {.q_len = 4096, .kv_len = 4096}, 34);
  EXPECT_NE(thin.find("│░"), std::string::npos) << thin;  // a line one pair wide still shows
  EXPECT_EQ(mask_text_picture(Mask(), {.q_len = 0, .kv_len = 9}, 40), "(no pairs)\n");
  // Never wider than asked, nor taller than a screen.
  for (const std::int64_t q_len : {1, 7, 100, 100000}) {
    for (const std::int64_t kv_len : {1, 7, 100, 100000}) {
      const std::string text =
          mask_text_picture(mask::causal(), {.q_len = q_len, .kv_len = kv_len}, 60);
      int width = 0, lines = 0, widest = 0;
      for (const char c : text) {
        if (c == '\n')
          ++lines, widest = std::max(widest, width), width = 0;
        else
          width += (c & 0xC0) != 0x80;
      }
      EXPECT_LE(widest, 60) << q_len << " " << kv_len;
      EXPECT_LE(lines, 42) << q_len << " " << kv_len;
    }
  }
}

TEST(MaskCommand, FitsTheTerminal) {
  ProgramInput input;
  input.environment = {"COLUMNS=30"};
  const ProgramRun run = run_program({"mask", "causal", "--q", "560"}, input);
  std::string frame = "┌";
  for (int i = 0; i < 28; ++i) frame += "─";
  EXPECT_NE(run.out.find(frame + "┐\n"), std::string::npos) << run.out;
}

TEST(MaskCommand, ReadsStdin) {
  ProgramInput input;
  input.standard_input = "causal & window(3, 0)\n";
  const ProgramRun run = run_program({"mask", "-", "--q", "8", "--json"}, input);
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(json::parse(run.out)["mask"], "causal & window(3, 0)");
}

struct ReadImage {
  unsigned width = 0, height = 0;
  std::vector<std::uint8_t> grey;
};

ReadImage read_png(const std::string& path) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  EXPECT_TRUE(png_image_begin_read_from_file(&image, path.c_str())) << image.message;
  image.format = PNG_FORMAT_GRAY;
  ReadImage read{image.width, image.height, std::vector<std::uint8_t>(PNG_IMAGE_SIZE(image))};
  EXPECT_TRUE(png_image_finish_read(&image, nullptr, read.grey.data(), 0, nullptr));
  return read;
}

TEST(MaskCommand, Png) {
  const std::string path = testing::TempDir() + "raptly_mask.png";
  const ProgramRun run = run_mask({"causal", "--q", "32", "--json", "--png", path});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const ReadImage image = read_png(path);
  EXPECT_EQ(image.width, 32u * 12 + 16);
  EXPECT_EQ(image.height, image.width);
  const auto at = [&](unsigned x, unsigned y) { return image.grey[y * image.width + x]; };
  EXPECT_EQ(at(0, 0), 255);                    // the margin
  EXPECT_LT(at(8 + 3, 8 + 3), 120);            // query 0 sees key 0
  EXPECT_GT(at(8 + 12 + 3, 8 + 3), 200);       // and not key 1
  EXPECT_LT(at(8 + 12 + 3, 8 + 12 + 3), 120);  // query 1 does
  std::remove(path.c_str());
}

// docs/masks.md shows every rule; what it tells people to type is a mask.
TEST(MaskCommand, TheDocumentedMasksAreMasks) {
  std::ifstream page(RAPTLY_SOURCE_DIR "/docs/masks.md");
  const std::string command = "    raptly mask ";
  std::string line, all;
  int n = 0;
  while (std::getline(page, line)) {
    if (!line.starts_with(command)) continue;
    const bool quoted = line[command.size()] == '\'';
    const std::size_t begin = command.size() + (quoted ? 1 : 0);
    const std::string text = line.substr(begin, line.find(quoted ? '\'' : ' ', begin) - begin);
    EXPECT_NO_THROW(Mask::parse(text)) << text;
    all += text + "\n";
    ++n;
  }
  EXPECT_GE(n, 19);
  for (const std::string rule : {"bigbird", "blocks", "causal", "chunked", "dense", "dilated",
                                 "documents", "global_tokens", "lengths", "longformer", "media",
                                 "packed", "padding", "positions", "prefix", "tree", "window"}) {
    EXPECT_NE(all.find(rule), std::string::npos) << rule;
  }
}

TEST(MaskCommand, WrongUse) {
  const auto expect_failure = [](const ProgramRun& run, int code, const std::string& part) {
    EXPECT_EQ(run.exit_code, code);
    EXPECT_EQ(run.out, "");
    EXPECT_NE(run.err.find(part), std::string::npos) << run.err;
    EXPECT_EQ(run.err.find('\n'), run.err.size() - 1) << run.err;
  };
  expect_failure(run_mask({}), 2, "mask");
  expect_failure(run_mask({"causel"}), 2, "column 1: there is no rule 'causel'");
  expect_failure(run_mask({"causal", "--q", "-1"}), 2, "--q");
  expect_failure(run_mask({"causal", "--q", "1099511627776"}), 2, "--q");
  expect_failure(run_mask({"padding([1])", "--q", "4"}), 2, "keep has 1 entries, kv_len is 4");
  expect_failure(run_mask({"causal", "--head", "1"}), 2, "--head is 1, the mask has 1");
  expect_failure(run_mask({"padding([[1], [1]])", "--kv", "1", "--entry", "2"}), 2,
                 "--entry is 2, the mask has 2");
  expect_failure(run_mask({"causal", "--q", "4", "--png", "/nonexistent/x.png"}), 1,
                 "/nonexistent/x.png could not be written: No such file or directory.");
  expect_failure(run_mask({std::string(100000, '(')}), 2, "more than 64 deep");
  expect_failure(run_mask({std::string(100000, 'x')}), 2, "there is no rule");
  ProgramInput input;  // arguments are at most 128 KiB long; stdin is not
  input.standard_input = std::string(2000000, '(');
  expect_failure(run_program({"mask", "-"}, input), 2, "the text has 1048577 bytes");
  input.standard_input.resize(1000000);
  expect_failure(run_program({"mask", "-"}, input), 2, "more than 64 deep");
}

TEST(MaskPicture, AFullDiskIsAnErrorAndDevicesStay) {
  try {
    write_mask_png(mask::causal(), {.q_len = 600, .kv_len = 600}, "/dev/full");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kIo);
    EXPECT_NE(std::strstr(error.what(), "/dev/full could not be written: No space left on device."),
              nullptr)
        << error.what();
  }
  struct stat info{};
  EXPECT_TRUE(stat("/dev/full", &info) == 0 && S_ISCHR(info.st_mode));
}

}  // namespace
}  // namespace raptly::test
