// A file mapped for reading. The mapping lives as long as the object.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace raptly {

class MappedFile {
 public:
  // Throws kNotFound, or kIo where the path is no regular file or the system refuses. The file must
  // not shrink while it is mapped: POSIX then ends a process that reads past the new end.
  explicit MappedFile(std::string path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  bool contains(std::span<const std::byte> range) const noexcept;
  // Drops the pages that lie wholly inside the range from memory; a later read brings them back.
  void release(std::span<const std::byte> range) const noexcept;

 private:
  void unmap() noexcept;

  std::string path_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace raptly
