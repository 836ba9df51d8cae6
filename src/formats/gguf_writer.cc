#include "formats/gguf_writer.h"

#include <cstring>
#include <type_traits>

#include "formats/gguf_types.h"
#include "raptly/error.h"

namespace raptly {
namespace {

class Writer {
 public:
  template <class T>
  void number(T value) {
    const auto* p = reinterpret_cast<const std::byte*>(&value);
    bytes_.insert(bytes_.end(), p, p + sizeof(T));
  }
  void text(const std::string& s) {
    number(std::uint64_t{s.size()});
    const auto* p = reinterpret_cast<const std::byte*>(s.data());
    bytes_.insert(bytes_.end(), p, p + s.size());
  }
  void kind(GgufKind k) { number(static_cast<std::uint32_t>(k)); }
  void pad(std::uint64_t alignment) {
    bytes_.resize((bytes_.size() + alignment - 1) / alignment * alignment);
  }
  void data(std::span<const std::byte> d) { bytes_.insert(bytes_.end(), d.begin(), d.end()); }
  std::vector<std::byte> take() { return std::move(bytes_); }

  void value(const MetaValue& v) {
    std::visit([&](const auto& x) { typed(x); }, v);
  }

 private:
  template <class T>
  static constexpr GgufKind kind_of() {
    if constexpr (std::is_same_v<T, bool>) return GgufKind::kBool;
    if constexpr (std::is_same_v<T, std::int64_t>) return GgufKind::kI64;
    if constexpr (std::is_same_v<T, std::uint64_t>) return GgufKind::kU64;
    if constexpr (std::is_same_v<T, double>) return GgufKind::kF64;
    return GgufKind::kString;
  }
  template <class T>
  void raw(const T& x) {
    if constexpr (std::is_same_v<T, std::string>) {
      text(x);
    } else if constexpr (std::is_same_v<T, bool>) {
      number(static_cast<std::uint8_t>(x));
    } else {
      number(x);
    }
  }
  void typed(std::monostate) {
    throw Error(ErrorCode::kInvalidArgument, "[gguf] null cannot be written.");
  }
  template <class T>
  void typed(const std::vector<T>& list) {
    kind(GgufKind::kArray);
    kind(kind_of<T>());
    number(std::uint64_t{list.size()});
    for (const T& x : list) raw(x);
  }
  template <class T>
  void typed(const T& x) {
    kind(kind_of<T>());
    raw(x);
  }

  std::vector<std::byte> bytes_;
};

std::uint64_t bytes_of(const CheckpointTensor& tensor) {
  const WeightTypeInfo& info = weight_type_info(tensor.type);
  std::uint64_t n = static_cast<std::uint64_t>(info.block_bytes);
  for (const std::int64_t size : tensor.shape) n *= static_cast<std::uint64_t>(size);
  return n / static_cast<std::uint64_t>(info.block_elements);
}

}  // namespace

std::vector<std::byte> write_gguf(const Metadata& metadata,
                                  std::span<const CheckpointTensor> tensors) {
  Writer out;
  out.data(std::as_bytes(std::span("GGUF", 4)));
  out.number(std::uint32_t{3});
  out.number(std::uint64_t{tensors.size()});
  out.number(std::uint64_t{metadata.all().size()});
  const auto alignment = static_cast<std::uint64_t>(metadata.integer_or("general.alignment", 32));
  for (const auto& [key, value] : metadata.all()) {
    out.text(key);
    if (key == "general.alignment") {
      out.kind(GgufKind::kU32);
      out.number(static_cast<std::uint32_t>(alignment));
    } else {
      out.value(value);
    }
  }
  std::uint64_t offset = 0;
  for (const CheckpointTensor& tensor : tensors) {
    if (bytes_of(tensor) != tensor.data.size()) {
      throw Error(ErrorCode::kInvalidArgument,
                  "[gguf] tensor " + tensor.name + " has " + std::to_string(tensor.data.size()) +
                      " bytes, its shape needs " + std::to_string(bytes_of(tensor)) + ".");
    }
    out.text(tensor.name);
    out.number(static_cast<std::uint32_t>(tensor.shape.size()));
    for (auto size = tensor.shape.rbegin(); size != tensor.shape.rend(); ++size) {
      out.number(static_cast<std::uint64_t>(*size));
    }
    out.number(ggml_type_of(tensor.type));
    out.number(offset);
    offset = (offset + tensor.data.size() + alignment - 1) / alignment * alignment;
  }
  for (const CheckpointTensor& tensor : tensors) {
    out.pad(alignment);
    out.data(tensor.data);
  }
  return out.take();
}

}  // namespace raptly
