// A model file, whatever its format, as metadata and named tensors. The bytes stay in the mapped
// file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tensor/weight_type.h"

namespace raptly {

// GGUF metadata as it is; HF's config.json with nested keys joined by dots ("rope_scaling.factor").
// Arrays of one kind only. std::monostate is JSON's null.
using MetaValue =
    std::variant<std::monostate, bool, std::int64_t, std::uint64_t, double, std::string,
                 std::vector<bool>, std::vector<std::int64_t>, std::vector<std::uint64_t>,
                 std::vector<double>, std::vector<std::string>>;

class Metadata {
 public:
  void set(std::string key, MetaValue value);
  bool has(std::string_view key) const;  // false for null
  // The value, converted between number kinds where that is exact. A missing key or another kind
  // throws kCorruptFile naming the key; the `_or` forms return the default for a missing key.
  std::int64_t integer(std::string_view key) const;
  double number(std::string_view key) const;
  const std::string& text(std::string_view key) const;
  bool boolean(std::string_view key) const;
  std::int64_t integer_or(std::string_view key, std::int64_t otherwise) const;
  double number_or(std::string_view key, double otherwise) const;
  std::string text_or(std::string_view key, std::string otherwise) const;
  bool boolean_or(std::string_view key, bool otherwise) const;
  const std::vector<std::string>& texts(std::string_view key) const;
  std::vector<std::int64_t> integers(std::string_view key) const;
  std::vector<double> numbers(std::string_view key) const;
  const std::map<std::string, MetaValue, std::less<>>& all() const { return values_; }

 private:
  std::map<std::string, MetaValue, std::less<>> values_;
};

struct CheckpointTensor {
  std::string name;
  WeightType type = WeightType::kF32;
  std::vector<std::int64_t> shape;  // outermost first: a matrix is [n_out, n_in]
  std::span<const std::byte> data;  // inside the mapped file
};

enum class CheckpointFormat { kGguf, kHfDirectory, kSafetensors };

class Checkpoint {
 public:
  virtual ~Checkpoint() = default;
  virtual CheckpointFormat format() const = 0;
  virtual const Metadata& metadata() const = 0;
  virtual std::span<const CheckpointTensor> tensors() const = 0;
  virtual std::size_t file_bytes() const = 0;
  // Directory of an HF checkpoint ("" otherwise): tokenizer.json and tokenizer_config.json lie
  // there.
  virtual std::string directory() const = 0;
  // Gives the tensor's pages back to the system once its weights have been repacked.
  virtual void release(const CheckpointTensor& tensor) const noexcept = 0;

  const CheckpointTensor* find(std::string_view name) const;  // null when absent
  const CheckpointTensor& get(std::string_view name) const;   // kCorruptFile naming it
};

// Opens a .gguf file, a .safetensors file, or an HF model directory (config.json +
// model.safetensors or a sharded index), by content, not by file name. Throws kNotFound, kIo,
// kCorruptFile (with the byte offset), kNotSupported. Allocates no more than the file's size.
std::unique_ptr<Checkpoint> open_checkpoint(const std::string& path);

}  // namespace raptly
