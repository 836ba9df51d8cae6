// A cursor over the bytes of a file: every read is checked against the end and every error carries
// the byte offset at which the file is wrong.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <string_view>

#include "raptly/error.h"

namespace raptly {

static_assert(std::endian::native == std::endian::little, "model files are little-endian");

// Says where a file is wrong: "[gguf] model.gguf, byte 24: ...".
struct FileErrors {
  std::string_view format;
  std::string_view file;

  [[noreturn]] void fail(ErrorCode code, std::uint64_t offset, const std::string& message) const {
    throw Error{code, "[" + std::string(format) + "] " + std::string(file) + ", byte " +
                          std::to_string(offset) + ": " + message};
  }
  [[noreturn]] void corrupt(std::uint64_t offset, const std::string& message) const {
    fail(ErrorCode::kCorruptFile, offset, message);
  }
};

// a * b and a + b, or nothing but `false` where they do not fit.
[[nodiscard]] inline bool multiply(std::uint64_t a, std::uint64_t b, std::uint64_t& product) {
  return !__builtin_mul_overflow(a, b, &product);
}
[[nodiscard]] inline bool add(std::uint64_t a, std::uint64_t b, std::uint64_t& sum) {
  return !__builtin_add_overflow(a, b, &sum);
}

class ByteReader {
 public:
  ByteReader(std::span<const std::byte> bytes, FileErrors errors)
      : bytes_(bytes), errors_(errors) {}

  const FileErrors& errors() const { return errors_; }
  std::uint64_t offset() const { return offset_; }
  std::uint64_t left() const { return bytes_.size() - offset_; }

  // The next n bytes; `what` names them in the error.
  std::span<const std::byte> take(std::uint64_t n, const char* what) {
    if (n > left()) too_short(n, what);
    const auto taken = bytes_.subspan(offset_, n);
    offset_ += n;
    return taken;
  }

  template <typename T>
  T read(const char* what) {
    T value;
    std::memcpy(&value, take(sizeof(T), what).data(), sizeof(T));
    return value;
  }

  // A u64 length and as many bytes.
  std::string_view read_string(const char* what) {
    const auto length = read<std::uint64_t>(what);
    const auto text = take(length, what);
    return {reinterpret_cast<const char*>(text.data()), text.size()};
  }

 private:
  [[noreturn]] void too_short(std::uint64_t n, const char* what) const {
    errors_.corrupt(offset_, std::string(what) + " needs " + std::to_string(n) +
                                 " bytes. The file has " + std::to_string(left()) +
                                 " more. Is the download incomplete?");
  }

  std::span<const std::byte> bytes_;
  FileErrors errors_;
  std::uint64_t offset_ = 0;
};

// Whether the text is well-formed UTF-8 (no overlong forms, no surrogates, at most U+10FFFF).
bool is_utf8(std::string_view text) noexcept;

}  // namespace raptly
