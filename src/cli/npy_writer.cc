#include "cli/npy_writer.h"

#include <sys/stat.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <system_error>

#include "cli/console.h"
#include "raptly/error.h"

namespace raptly {

static_assert(std::endian::native == std::endian::little);  // "<f4" below

std::string npy_header(std::int64_t rows, std::int64_t columns) {
  std::string dict = "{'descr': '<f4', 'fortran_order': False, 'shape': (" + std::to_string(rows) +
                     ", " + std::to_string(columns) + "), }";
  constexpr std::size_t kPrefix = 10;  // magic, version, length
  constexpr std::size_t kAlign = 64;
  while ((kPrefix + dict.size() + 1) % kAlign != 0) dict.push_back(' ');
  dict.push_back('\n');
  std::string header("\x93NUMPY\x01\x00", 8);
  header.push_back(static_cast<char>(dict.size() & 0xFF));
  header.push_back(static_cast<char>(dict.size() >> 8));
  return header + dict;
}

namespace {

std::FILE* open_output(const std::string& path) {
  if (path != "-") return std::fopen(path.c_str(), "wb");
  const int copy = dup(STDOUT_FILENO);
  return copy < 0 ? nullptr : fdopen(copy, "wb");
}

}  // namespace

NpyWriter::NpyWriter(std::string path, std::int64_t rows, std::int64_t columns)
    : path_(std::move(path)), file_(open_output(path_)) {
  if (file_ == nullptr) fail();
  struct stat info{};
  regular_ = path_ != "-" && fstat(fileno(file_), &info) == 0 && S_ISREG(info.st_mode);
  const std::string header = npy_header(rows, columns);
  put(header.data(), header.size());
}

NpyWriter::~NpyWriter() {
  if (file_ == nullptr) return;
  std::fclose(file_);
  if (regular_) std::remove(path_.c_str());
}

void NpyWriter::write(std::span<const float> values) { put(values.data(), values.size_bytes()); }

void NpyWriter::finish() {
  if (std::fflush(file_) != 0) fail();
  std::FILE* file = file_;
  file_ = nullptr;
  if (std::fclose(file) != 0) {
    const int error = errno;
    if (regular_) std::remove(path_.c_str());
    errno = error;
    fail();
  }
}

void NpyWriter::put(const void* bytes, std::size_t n) {
  if (std::fwrite(bytes, 1, n, file_) != n) fail();
}

void NpyWriter::fail() const {
  const bool out = path_ == "-";
  if (out && errno == EPIPE) throw Console::Closed{};
  const std::string reason = std::generic_category().message(errno);
  throw Error(ErrorCode::kIo, "[cli] " + (out ? "standard output" : path_) +
                                  " could not be written: " + reason + ".");
}

}  // namespace raptly
