// NumPy's .npy format, version 1.0: a matrix of f32 that comes row by row.
#pragma once

#include <cstdint>
#include <cstdio>
#include <span>
#include <string>

namespace raptly {

std::string npy_header(std::int64_t rows, std::int64_t columns);

// A file that is whole or not there: unless finish() came, the destructor removes it (but never a
// device such as /dev/full). "-" is stdout, which keeps what it got. Throws kIo with the system's
// reason; Console::Closed when the reader of stdout is gone.
class NpyWriter {
 public:
  NpyWriter(std::string path, std::int64_t rows, std::int64_t columns);
  ~NpyWriter();
  NpyWriter(const NpyWriter&) = delete;
  NpyWriter& operator=(const NpyWriter&) = delete;
  void write(std::span<const float> values);
  void finish();

 private:
  void put(const void* bytes, std::size_t n);
  [[noreturn]] void fail() const;

  std::string path_;
  std::FILE* file_ = nullptr;
  bool regular_ = false;
};

}  // namespace raptly
