// Malformed GGUF files: each triggers a check of its own, and its message names the byte.
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "formats/gguf.h"
#include "raptly/error.h"

namespace raptly {
namespace {

// A GGUF file under construction, byte by byte.
struct Bytes {
  std::vector<std::byte> data;

  template <class T>
  Bytes& n(T value) {
    const auto* p = reinterpret_cast<const std::byte*>(&value);
    data.insert(data.end(), p, p + sizeof(T));
    return *this;
  }
  Bytes& u32(std::uint32_t v) { return n(v); }
  Bytes& u64(std::uint64_t v) { return n(v); }
  Bytes& raw(const std::string& s) {
    for (const char c : s) data.push_back(static_cast<std::byte>(c));
    return *this;
  }
  Bytes& text(const std::string& s) { return u64(s.size()).raw(s); }
  Bytes& header(std::uint64_t tensors, std::uint64_t entries, std::uint32_t version = 3) {
    return raw("GGUF").u32(version).u64(tensors).u64(entries);
  }
  Bytes& key(const std::string& name, std::uint32_t kind) { return text(name).u32(kind); }
  // A one-dimensional tensor.
  Bytes& tensor(const std::string& name, std::uint64_t size, std::uint32_t type,
                std::uint64_t offset) {
    return text(name).u32(1).u64(size).u32(type).u64(offset);
  }
  Bytes& zeros(std::size_t count) {
    data.resize(data.size() + count);
    return *this;
  }
  Bytes& cut(std::size_t size) {
    data.resize(size);
    return *this;
  }
};

struct Malformed {
  std::string name;
  Bytes bytes;
  std::string message;  // after "[gguf] f, "
};

std::vector<Malformed> structure_cases() {
  const std::string big_key(70000, 'k');
  return {
      {"empty", Bytes(), "byte 0: the magic number needs 4 bytes. The file has 0 more."},
      {"magic", Bytes().raw("GGML").zeros(40), "byte 0: the file is not GGUF."},
      {"cut_in_version", Bytes().raw("GGUF").zeros(2),
       "byte 4: the version needs 4 bytes. The file has 2 more."},
      {"version_1", Bytes().header(0, 0, 1),
       "byte 4: version 1 is not supported. Versions 2 and 3 are."},
      {"big_endian", Bytes().header(0, 0, 0x03000000), "byte 4: the file is big-endian."},
      {"cut_in_tensor_count", Bytes().raw("GGUF").u32(3).u32(0),
       "byte 8: the number of tensors needs 8 bytes."},
      {"cut_in_entry_count", Bytes().raw("GGUF").u32(3).u64(0).u32(0),
       "byte 16: the number of metadata entries needs 8"},
      {"many_tensors", Bytes().header(~0ull, 0).zeros(100),
       "byte 8: 18446744073709551615 tensors are announced."},
      {"many_entries", Bytes().header(0, 1ull << 60).zeros(100),
       "byte 16: 1152921504606846976 metadata entries are"},
      {"cut_in_key_length", Bytes().header(0, 1).text("abc").u32(4).zeros(1),
       "byte 39: a u32 needs 4 bytes. The file has 1"},
      {"huge_key_length", Bytes().header(0, 1).u64(1ull << 62).zeros(8),
       "byte 32: a metadata key needs 4611686018427387904"},
      {"empty_key", Bytes().header(0, 1).text("").u32(0).zeros(8),
       "byte 24: a metadata key has 0 bytes. It must have 1 to"},
      {"long_key", Bytes().header(0, 1).text(big_key).u32(0).zeros(1),
       "byte 24: a metadata key has 70000 bytes."},
      {"key_not_utf8", Bytes().header(0, 1).text("a\xff").u32(0).zeros(9),
       "byte 24: a metadata key is not UTF-8."},
      {"key_twice", Bytes().header(0, 2).key("a", 0).zeros(1).key("a", 0).zeros(1),
       "byte 38: key a stands twice."},
      {"kind_13", Bytes().header(0, 1).key("a", 13).zeros(8),
       "byte 33: key a has kind 13. Kinds are 0 to 12."},
      {"bool_2", Bytes().header(0, 1).key("a", 7).raw("\x02"),
       "byte 37: a boolean is 2. It must be 0 or 1."},
      {"cut_text", Bytes().header(0, 1).key("a", 8).u64(9).zeros(8),
       "byte 45: a text needs 9 bytes. The file has 8 more. Is the download incomplete?"},
      {"huge_text", Bytes().header(0, 1).key("a", 8).u64(~0ull),
       "byte 45: a text needs 18446744073709551615 bytes."},
      {"cut_f64", Bytes().header(0, 1).key("a", 12).zeros(7),
       "byte 37: an f64 needs 8 bytes. The file has 7 more."},
      {"array_kind", Bytes().header(0, 1).key("a", 9).u32(99).u64(0),
       "byte 37: the array a has kind 99."},
      {"array_of_arrays", Bytes().header(0, 1).key("a", 9).u32(9).u64(0),
       "byte 37: key a is an array of arrays."},
      {"huge_array", Bytes().header(0, 1).key("a", 9).u32(4).u64(1ull << 62),
       "byte 41: the array a announces 4611686018427387904"},
      {"huge_text_array", Bytes().header(0, 1).key("a", 9).u32(8).u64(1000).zeros(80),
       "byte 41: the array a announces 1000"},
      {"cut_array_text", Bytes().header(0, 1).key("a", 9).u32(8).u64(1).u64(5),
       "byte 57: a text of an array needs 5 bytes."},
      {"array_bool_3", Bytes().header(0, 1).key("a", 9).u32(7).u64(1).raw("\x03"),
       "byte 49: a boolean is 3."},
      {"alignment_0", Bytes().header(0, 1).key("general.alignment", 4).u32(0),
       "byte 57: general.alignment is 0. It must be"},
      {"alignment_48", Bytes().header(0, 1).key("general.alignment", 4).u32(48),
       "byte 57: general.alignment is 48."},
      {"alignment_huge", Bytes().header(0, 1).key("general.alignment", 4).u32(1u << 31),
       "byte 57: general.alignment is 2147483648."},
  };
}

std::vector<Malformed> tensor_cases() {
  return {
      {"tensor_name_empty", Bytes().header(1, 0).text("").zeros(60),
       "byte 24: a tensor name has 0 bytes."},
      {"tensor_name_cut", Bytes().header(1, 0).u64(50).zeros(40),
       "byte 32: a tensor name needs 50 bytes."},
      {"tensor_name_utf8", Bytes().header(1, 0).text("\xc0\x80").zeros(60),
       "byte 24: a tensor name is not UTF-8."},
      {"tensor_twice", Bytes().header(2, 0).tensor("t", 8, 0, 0).tensor("t", 8, 0, 32).zeros(99),
       "byte 57: tensor t stands twice."},
      {"dims_0", Bytes().header(1, 0).text("t").u32(0).zeros(60),
       "byte 33: tensor t has 0 dimensions. It must have 1 to 4."},
      {"dims_5", Bytes().header(1, 0).text("t").u32(5).zeros(80),
       "byte 33: tensor t has 5 dimensions."},
      {"dim_zero", Bytes().header(1, 0).tensor("t", 0, 0, 0).zeros(40),
       "byte 37: tensor t has a dimension of 0."},
      {"dim_negative", Bytes().header(1, 0).tensor("t", 1ull << 63, 0, 0).zeros(40),
       "byte 37: tensor t has a dimension of 9223372036854775808."},
      {"cut_in_dims", Bytes().header(1, 0).text("tensor").u32(2).u64(4).zeros(6),
       "byte 50: a dimension needs 8 bytes. The file has 6"},
      {"type_unsupported", Bytes().header(1, 0).tensor("t", 256, 10, 0).zeros(99),
       "byte 45: tensor t has ggml type 10 (Q2_K), which is not supported."},
      {"type_unknown", Bytes().header(1, 0).tensor("t", 256, 77, 0).zeros(99),
       "byte 45: tensor t has ggml type 77 (unknown)"},
      {"cut_in_offset", Bytes().header(1, 0).text("tensor").u32(1).u64(8).u32(0).zeros(4),
       "byte 54: a tensor offset needs 8 bytes."},
      {"half_a_block", Bytes().header(1, 0).tensor("t", 33, 2, 0).zeros(99),
       "byte 33: tensor t has rows of 33 elements. Q4_0 needs a multiple of 32."},
      {"size_overflow",
       Bytes().header(1, 0).text("t").u32(2).u64(1ull << 62).u64(8).u32(0).u64(0).zeros(9),
       "byte 33: the size of tensor t does not fit 64 bits."},
      {"misaligned", Bytes().header(1, 0).tensor("t", 8, 0, 8).zeros(99),
       "byte 49: tensor t has offset 8. It must be a multiple of 32."},
      {"beyond_the_end", Bytes().header(1, 0).tensor("t", 8, 0, 64).zeros(40),
       "byte 49: tensor t has offset 64 and 32 bytes. The file has 97 bytes and needs at least "
       "160: "
       "is the download incomplete?"},
      {"offset_overflow", Bytes().header(1, 0).tensor("t", 8, 0, ~31ull).zeros(99),
       "byte 49: tensor t has offset 18446744073709551584 and 32 bytes. No file has so many "
       "bytes."},
      {"data_cut", Bytes().header(1, 0).tensor("t", 8, 0, 0).zeros(7 + 31),
       "byte 49: tensor t has offset 0 and 32 bytes. The file has 95 bytes and needs at least 96"},
      {"overlap", Bytes().header(2, 0).tensor("a", 16, 0, 0).tensor("b", 8, 0, 32).zeros(200),
       "byte 82: tensors a and b overlap."},
  };
}

class MalformedGguf : public testing::TestWithParam<Malformed> {};

TEST_P(MalformedGguf, IsRefusedWithItsByte) {
  const Malformed& c = GetParam();
  try {
    parse_gguf(c.bytes.data, "f");
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_TRUE(error.code() == ErrorCode::kCorruptFile ||
                error.code() == ErrorCode::kNotSupported);
    EXPECT_EQ(std::string(error.what()).substr(0, 10 + c.message.size()), "[gguf] f, " + c.message)
        << error.what();
  }
}
const auto name_of = [](const auto& c) { return c.param.name; };
INSTANTIATE_TEST_SUITE_P(Structure, MalformedGguf, testing::ValuesIn(structure_cases()), name_of);
INSTANTIATE_TEST_SUITE_P(Tensors, MalformedGguf, testing::ValuesIn(tensor_cases()), name_of);

TEST(MalformedGguf, EveryMessageIsAnother) {
  std::vector<Malformed> all = structure_cases();
  for (Malformed& c : tensor_cases()) all.push_back(c);
  EXPECT_GE(all.size(), 40u);
  for (std::size_t i = 0; i < all.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) EXPECT_NE(all[i].message, all[j].message);
  }
}

// Cut anywhere, a valid file is refused, never read past its end (the sanitizers watch).
TEST(MalformedGguf, EveryPrefixIsRefused) {
  Bytes whole;
  whole.header(1, 2).key("a.list", 9).u32(8).u64(2).text("x").text("yy").key("b", 6).n(1.5f);
  whole.tensor("t", 8, 0, 0);
  whole.zeros((32 - whole.data.size() % 32) % 32 + 32);
  EXPECT_EQ(parse_gguf(whole.data, "f").tensors.size(), 1u);
  for (std::size_t n = 0; n < whole.data.size(); ++n) {
    const std::vector<std::byte> part(whole.data.begin(),
                                      whole.data.begin() + static_cast<std::ptrdiff_t>(n));
    EXPECT_THROW(parse_gguf(part, "f"), Error) << n;
  }
}

}  // namespace
}  // namespace raptly
