// A checkpoint whose tensors lie in mapped files: what every format opens to.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "formats/checkpoint.h"
#include "formats/mapped_file.h"

namespace raptly {

class MappedCheckpoint final : public Checkpoint {
 public:
  MappedCheckpoint(CheckpointFormat format, Metadata metadata,
                   std::vector<CheckpointTensor> tensors, std::vector<MappedFile> files,
                   std::string directory)
      : format_(format),
        metadata_(std::move(metadata)),
        tensors_(std::move(tensors)),
        files_(std::move(files)),
        directory_(std::move(directory)) {}

  CheckpointFormat format() const override { return format_; }
  const Metadata& metadata() const override { return metadata_; }
  std::span<const CheckpointTensor> tensors() const override { return tensors_; }
  std::size_t file_bytes() const override {
    std::size_t total = 0;
    for (const MappedFile& file : files_) total += file.bytes().size();
    return total;
  }
  std::string directory() const override { return directory_; }
  void release(const CheckpointTensor& tensor) const noexcept override {
    for (const MappedFile& file : files_) {
      if (file.contains(tensor.data)) file.release(tensor.data);
    }
  }

 private:
  CheckpointFormat format_;
  Metadata metadata_;
  std::vector<CheckpointTensor> tensors_;
  std::vector<MappedFile> files_;
  std::string directory_;
};

}  // namespace raptly
