// Files that are read: what was written comes back, from every format.
#include "formats/checkpoint.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/test_allocations.h"
#include "formats/gguf.h"
#include "formats/gguf_writer.h"
#include "formats/safetensors.h"
#include "raptly/error.h"

namespace raptly {
namespace {

namespace fs = std::filesystem;

struct TemporaryDirectory {
  fs::path path;
  TemporaryDirectory() {
    std::string pattern = (fs::temp_directory_path() / "raptly-XXXXXX").string();
    path = mkdtemp(pattern.data());
  }
  ~TemporaryDirectory() { fs::remove_all(path); }
  std::string write(const std::string& name, std::string_view text) const {
    std::ofstream(path / name, std::ios::binary) << text;
    return (path / name).string();
  }
};

std::string_view as_text(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Metadata sample_metadata() {
  Metadata m;
  m.set("general.architecture", std::string("llama"));
  m.set("llama.block_count", std::uint64_t{7});
  m.set("a.negative", std::int64_t{-3});
  m.set("a.number", 0.25);
  m.set("a.flag", true);
  m.set("a.texts", std::vector<std::string>{"x", "", "zz"});
  m.set("a.integers", std::vector<std::int64_t>{-1, 5});
  m.set("a.numbers", std::vector<double>{0.5, 2});
  m.set("a.flags", std::vector<bool>{true, false});
  m.set("general.alignment", std::uint64_t{64});
  return m;
}

TEST(Gguf, WhatIsWrittenComesBack) {
  std::vector<float> a(6, 1.5f);
  std::vector<std::byte> q(2 * 20, std::byte{3});
  const std::vector<CheckpointTensor> tensors = {
      {"a.weight", WeightType::kF32, {2, 3}, std::as_bytes(std::span(a))},
      {"q", WeightType::kQ4_1, {1, 2, 32}, q}};
  const std::vector<std::byte> file = write_gguf(sample_metadata(), tensors);
  const GgufContents read = parse_gguf(file, "f");
  EXPECT_EQ(read.metadata.all().size(), sample_metadata().all().size());
  EXPECT_EQ(read.metadata.text("general.architecture"), "llama");
  EXPECT_EQ(read.metadata.integer("llama.block_count"), 7);
  EXPECT_EQ(read.metadata.integer("a.negative"), -3);
  EXPECT_EQ(read.metadata.number("a.number"), 0.25);
  EXPECT_TRUE(read.metadata.boolean("a.flag"));
  EXPECT_EQ(read.metadata.texts("a.texts"), (std::vector<std::string>{"x", "", "zz"}));
  EXPECT_EQ(read.metadata.integers("a.integers"), (std::vector<std::int64_t>{-1, 5}));
  EXPECT_EQ(read.metadata.numbers("a.numbers"), (std::vector<double>{0.5, 2}));
  ASSERT_EQ(read.tensors.size(), 2u);
  EXPECT_EQ(read.tensors[1].shape, (std::vector<std::int64_t>{1, 2, 32}));
  EXPECT_EQ(read.tensors[1].type, WeightType::kQ4_1);
  ASSERT_EQ(read.tensors[0].data.size(), 24u);
  EXPECT_EQ(std::memcmp(read.tensors[0].data.data(), a.data(), 24), 0);
  EXPECT_EQ(std::memcmp(read.tensors[1].data.data(), q.data(), 40), 0);
  EXPECT_EQ((read.tensors[1].data.data() - file.data()) % 64, 0);
}

TEST(Metadata, SaysWhatIsWrong) {
  const Metadata m = sample_metadata();
  const auto message = [](auto&& call) -> std::string {
    try {
      call();
      return "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCorruptFile);
      return error.what();
    }
  };
  EXPECT_EQ(message([&] { m.integer("nope"); }), "[metadata] nope is missing.");
  EXPECT_EQ(message([&] { m.integer("a.flag"); }),
            "[metadata] a.flag is a boolean. It must be an integer.");
  EXPECT_EQ(message([&] { m.integer("a.number"); }), "[metadata] a.number is not an integer.");
  EXPECT_EQ(message([&] { m.text("a.number"); }),
            "[metadata] a.number is a number. It must be a text.");
  EXPECT_EQ(message([&] { m.texts("a.integers"); }),
            "[metadata] a.integers is a list of integers. It must be a list of texts.");
  EXPECT_EQ(m.integer_or("nope", 4), 4);
  EXPECT_EQ(m.text_or("nope", "d"), "d");
}

std::string safetensors_file(const std::string& header, std::size_t data_bytes) {
  const std::uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), 8) + header +
         std::string(data_bytes, '\1');
}
std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

TEST(Safetensors, ReadsFloatsAndListsOthers) {
  const std::string file = safetensors_file(
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[2,2],"data_offsets":[8,16]},)"
      R"("i":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},"s":{"dtype":"F32","shape":[],"data_offsets":[16,20]}})",
      20);
  const SafetensorsContents read = parse_safetensors(bytes_of(file), "f");
  ASSERT_EQ(read.tensors.size(), 2u);
  EXPECT_EQ(read.tensors[0].name, "b");
  EXPECT_EQ(read.tensors[0].type, WeightType::kBf16);
  EXPECT_EQ(read.tensors[0].data.size(), 8u);
  EXPECT_EQ(read.skipped, std::vector<std::string>{"i"});
  EXPECT_EQ(read.metadata.text("format"), "pt");
}

struct BadSafetensors {
  std::string name, file, message;
};
class MalformedSafetensors : public testing::TestWithParam<BadSafetensors> {};
TEST_P(MalformedSafetensors, IsRefused) {
  const BadSafetensors& c = GetParam();
  try {
    parse_safetensors(bytes_of(c.file), "f");
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCorruptFile);
    EXPECT_NE(std::string(error.what()).find(c.message), std::string::npos) << error.what();
  }
}
std::string one(const std::string& body, std::size_t bytes = 8) {
  return safetensors_file("{\"t\":" + body + "}", bytes);
}
INSTANTIATE_TEST_SUITE_P(
    All, MalformedSafetensors,
    testing::Values(
        BadSafetensors{"empty", "", "byte 0: the header length needs 8 bytes"},
        BadSafetensors{"huge_header", std::string(8, '\xff'),
                       "the header has 18446744073709551615 bytes. It may have"},
        BadSafetensors{"cut_header", safetensors_file("{}", 0).substr(0, 9),
                       "byte 8: the header needs 2 bytes"},
        BadSafetensors{"no_object", safetensors_file("[]", 0),
                       "byte 8: the header does not begin with {"},
        BadSafetensors{"broken_json", safetensors_file("{\"a\":}", 0),
                       "byte 14: JSON is broken here."},
        BadSafetensors{"huge_number", safetensors_file("{\"a\":1e999}", 0),
                       "JSON holds a number beyond double"},
        BadSafetensors{"not_utf8", safetensors_file("{\"a\xff\":1}", 0), "JSON is not UTF-8."},
        BadSafetensors{"key_twice", safetensors_file("{\"a\":1,\"a\":1}", 0),
                       "key a stands twice in one object."},
        BadSafetensors{
            "deep",
            safetensors_file("{\"a\":" + std::string(9999, '[') + std::string(9999, ']') + "}", 0),
            "JSON is nested more than 64 deep."},
        BadSafetensors{"not_an_object", one("5"), "tensor t is not an object."},
        BadSafetensors{"no_dtype", one("{}"), "tensor t has no dtype."},
        BadSafetensors{"unknown_dtype", one("{\"dtype\":\"Q9\"}"),
                       "tensor t has dtype \"Q9\", which is not known."},
        BadSafetensors{"no_shape", one("{\"dtype\":\"F32\"}"), "tensor t has no shape."},
        BadSafetensors{"shape_text", one("{\"dtype\":\"F32\",\"shape\":\"2\"}"),
                       "a shape that is no list of up to 8 sizes"},
        BadSafetensors{"shape_negative", one("{\"dtype\":\"F32\",\"shape\":[-2]}"),
                       "a shape that is no list of up to 8"},
        BadSafetensors{"shape_overflow",
                       one("{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4]}"),
                       "a size that does not fit"},
        BadSafetensors{"no_offsets", one("{\"dtype\":\"F32\",\"shape\":[2]}"),
                       "tensor t has no data_offsets."},
        BadSafetensors{"offsets_kind",
                       one("{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}"),
                       "that are not [begin, end]"},
        BadSafetensors{"beyond", one("{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}"),
                       "data_offsets [4, 12]. The data has 8"},
        BadSafetensors{"size", one("{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}"),
                       "has 8 bytes of data. Its shape and dtype need 12"},
        BadSafetensors{"gap", one("{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}"),
                       "begins at 4. The data before it ends at 0"},
        BadSafetensors{"rest", one("{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}"),
                       "the tensors end at 4. The data has 8"}),
    [](const auto& c) { return c.param.name; });

TEST(Checkpoint, OpensByContent) {
  const TemporaryDirectory dir;
  const auto message = [](const std::string& path, ErrorCode code) -> std::string {
    try {
      open_checkpoint(path);
      return "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code);
      return error.what();
    }
  };
  const std::string gguf = dir.write("odd-name.bin", as_text(write_gguf(sample_metadata(), {})));
  EXPECT_EQ(open_checkpoint(gguf)->format(), CheckpointFormat::kGguf);
  EXPECT_EQ(open_checkpoint(dir.write("x.gguf", safetensors_file("{}", 0)))->format(),
            CheckpointFormat::kSafetensors);
  EXPECT_NE(message(dir.write("text", "hello world, hello"), ErrorCode::kNotSupported)
                .find("neither GGUF nor"),
            std::string::npos);
  EXPECT_NE(message(dir.path.string() + "/absent", ErrorCode::kNotFound).find("absent"),
            std::string::npos);
  EXPECT_NE(message(dir.path.string(), ErrorCode::kNotFound).find("has no config.json"),
            std::string::npos);
}

TEST(Checkpoint, HfDirectoriesWithShards) {
  const TemporaryDirectory dir;
  dir.write(
      "config.json",
      R"({"model_type":"llama","rope_scaling":{"factor":8.0,"kind":null},"ids":[1,2],"mixed":[1,"a"]})");
  dir.write("generation_config.json", R"({"eos_token_id":[2,7]})");
  dir.write("m-1.safetensors",
            safetensors_file(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4));
  dir.write("m-2.safetensors",
            safetensors_file(R"({"b":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}})", 4));
  dir.write("model.safetensors.index.json",
            R"({"weight_map":{"a":"m-1.safetensors","b":"m-2.safetensors"}})");
  const auto checkpoint = open_checkpoint(dir.path.string());
  EXPECT_EQ(checkpoint->format(), CheckpointFormat::kHfDirectory);
  EXPECT_EQ(checkpoint->directory(), dir.path.string());
  EXPECT_EQ(checkpoint->metadata().number("rope_scaling.factor"), 8.0);
  EXPECT_FALSE(checkpoint->metadata().has("rope_scaling.kind"));
  EXPECT_EQ(checkpoint->metadata().integers("generation.eos_token_id"),
            (std::vector<std::int64_t>{2, 7}));
  EXPECT_EQ(checkpoint->get("b").shape, std::vector<std::int64_t>{2});
  EXPECT_EQ(checkpoint->find("c"), nullptr);
  EXPECT_THROW(checkpoint->get("c"), Error);
  checkpoint->release(checkpoint->get("a"));
  EXPECT_EQ(checkpoint->get("a").data[0], std::byte{1});  // comes back from the file
  const auto bad_index = [&](const std::string& index) -> std::string {
    dir.write("model.safetensors.index.json", index);
    try {
      open_checkpoint(dir.path.string());
      return "no error";
    } catch (const Error& error) {
      return error.what();
    }
  };
  EXPECT_NE(bad_index("{}").find("weight_map is missing"), std::string::npos);
  EXPECT_NE(bad_index(R"({"weight_map":{"a":7}})").find("is not a file name."), std::string::npos);
  EXPECT_NE(bad_index(R"({"weight_map":{"a":"../x"}})").find("not a file name inside"),
            std::string::npos);
  EXPECT_NE(bad_index(R"({"weight_map":{"a":"absent"}})").find("absent"), std::string::npos);
  dir.write("m-3.safetensors",
            safetensors_file(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4));
  EXPECT_NE(bad_index(R"({"weight_map":{"a":"m-1.safetensors","b":"m-3.safetensors"}})")
                .find("is in another shard too"),
            std::string::npos);
}

// Counts and lengths that lie never make the reader allocate: 64 KiB covers messages and small
// tables.
TEST(Checkpoint, MalformedFilesAllocateLittle) {
  std::vector<std::byte> file = write_gguf(sample_metadata(), {});
  for (std::size_t i = 4; i < file.size(); ++i) {
    for (const int value : {0x7f, 0xff}) {
      const std::byte saved = file[i];
      file[i] = static_cast<std::byte>(value);
      const std::size_t before = testing_allocations();
      try {
        parse_gguf(file, "f");
      } catch (const Error&) {
      }
      EXPECT_LT(testing_allocations() - before, (std::size_t{1} << 16) + 16 * file.size()) << i;
      file[i] = saved;
    }
  }
}

}  // namespace
}  // namespace raptly
