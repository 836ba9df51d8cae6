#include "formats/gguf.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "formats/byte_reader.h"
#include "formats/gguf_types.h"
#include "formats/mapped_checkpoint.h"
#include "raptly/error.h"

namespace raptly {
namespace {

constexpr std::uint64_t kMaxKeyBytes =
    65535;  // the format's own limit of keys; names keep to it too
constexpr std::uint64_t kDefaultAlignment = 32, kMaxAlignment = 1u << 20;
constexpr std::uint32_t kMaxDims = 4;

class GgufParser {
 public:
  GgufParser(std::span<const std::byte> bytes, std::string_view file)
      : bytes_(bytes), in_(bytes, {"gguf", file}) {}

  GgufContents parse() {
    const auto magic = in_.take(4, "the magic number");
    if (std::memcmp(magic.data(), "GGUF", 4) != 0) in_.errors().corrupt(0, "the file is not GGUF.");
    const auto version = in_.read<std::uint32_t>("the version");
    if (version != 2 && version != 3) {
      const bool swapped = version == 0x02000000 || version == 0x03000000;
      in_.errors().fail(ErrorCode::kNotSupported, 4,
                        swapped ? "the file is big-endian. Only little-endian files are read."
                                : "version " + std::to_string(version) +
                                      " is not supported. Versions 2 and 3 are.");
    }
    const auto n_tensors = in_.read<std::uint64_t>("the number of tensors");
    const auto n_metadata = in_.read<std::uint64_t>("the number of metadata entries");
    check_count(n_tensors, 8 + 4 + 8 + 4 + 8, 8, "tensors");
    check_count(n_metadata, 8 + 4 + 1, 16, "metadata entries");
    for (std::uint64_t i = 0; i < n_metadata; ++i) read_entry();
    read_alignment();
    out_.tensors.reserve(n_tensors);
    for (std::uint64_t i = 0; i < n_tensors; ++i) read_tensor();
    place_tensors();
    return std::move(out_);
  }

 private:
  void check_count(std::uint64_t n, std::uint64_t least_bytes, std::uint64_t offset,
                   const char* what) {
    if (n > in_.left() / least_bytes) {
      in_.errors().corrupt(offset, std::to_string(n) + " " + what + " are announced. The " +
                                       std::to_string(in_.left()) +
                                       " bytes that follow cannot hold them.");
    }
  }

  std::string read_name(const char* what) {
    const std::uint64_t at = in_.offset();
    const std::string_view name = in_.read_string(what);
    if (name.empty() || name.size() > kMaxKeyBytes) {
      in_.errors().corrupt(at, std::string(what) + " has " + std::to_string(name.size()) +
                                   " bytes. It must have 1 to " + std::to_string(kMaxKeyBytes) +
                                   ".");
    }
    if (!is_utf8(name)) in_.errors().corrupt(at, std::string(what) + " is not UTF-8.");
    return std::string(name);
  }

  void read_entry() {
    const std::uint64_t at = in_.offset();
    std::string key = read_name("a metadata key");
    if (out_.metadata.all().contains(key))
      in_.errors().corrupt(at, "key " + key + " stands twice.");
    const std::uint64_t kind_at = in_.offset();
    const auto kind = in_.read<std::uint32_t>("a metadata kind");
    out_.metadata.set(key, read_value(kind, kind_at, key));
  }

  MetaValue read_value(std::uint32_t kind, std::uint64_t kind_at, const std::string& key) {
    switch (static_cast<GgufKind>(kind)) {
      case GgufKind::kU8:
        return std::uint64_t{in_.read<std::uint8_t>("a u8")};
      case GgufKind::kI8:
        return std::int64_t{in_.read<std::int8_t>("an i8")};
      case GgufKind::kU16:
        return std::uint64_t{in_.read<std::uint16_t>("a u16")};
      case GgufKind::kI16:
        return std::int64_t{in_.read<std::int16_t>("an i16")};
      case GgufKind::kU32:
        return std::uint64_t{in_.read<std::uint32_t>("a u32")};
      case GgufKind::kI32:
        return std::int64_t{in_.read<std::int32_t>("an i32")};
      case GgufKind::kF32:
        return static_cast<double>(in_.read<float>("an f32"));
      case GgufKind::kBool:
        return read_bool();
      case GgufKind::kString:
        return std::string(in_.read_string("a text"));
      case GgufKind::kArray:
        return read_array(key);
      case GgufKind::kU64:
        return in_.read<std::uint64_t>("a u64");
      case GgufKind::kI64:
        return in_.read<std::int64_t>("an i64");
      case GgufKind::kF64:
        return in_.read<double>("an f64");
    }
    in_.errors().corrupt(
        kind_at, "key " + key + " has kind " + std::to_string(kind) + ". Kinds are 0 to 12.");
  }

  bool read_bool() {
    const std::uint64_t at = in_.offset();
    const auto byte = in_.read<std::uint8_t>("a boolean");
    if (byte > 1)
      in_.errors().corrupt(at, "a boolean is " + std::to_string(byte) + ". It must be 0 or 1.");
    return byte == 1;
  }

  template <class Stored, class Wide>
  std::vector<Wide> read_list(std::uint64_t n) {
    const auto data = in_.take(n * sizeof(Stored), "an array");  // n was checked: no overflow
    std::vector<Wide> list(n);
    for (std::uint64_t i = 0; i < n; ++i) {
      Stored value;
      std::memcpy(&value, data.data() + i * sizeof(Stored), sizeof(Stored));
      list[i] = static_cast<Wide>(value);
    }
    return list;
  }

  MetaValue read_array(const std::string& key) {
    const std::uint64_t at = in_.offset();
    const auto kind = in_.read<std::uint32_t>("an array's kind");
    const auto n = in_.read<std::uint64_t>("an array's length");
    const std::uint64_t size = gguf_kind_bytes(kind);
    if (static_cast<GgufKind>(kind) == GgufKind::kArray) {
      in_.errors().fail(ErrorCode::kNotSupported, at, "key " + key + " is an array of arrays.");
    }
    if (size == 0) {
      in_.errors().corrupt(
          at, "the array " + key + " has kind " + std::to_string(kind) + ". Kinds are 0 to 12.");
    }
    if (n > in_.left() / size) {
      in_.errors().corrupt(at + 4, "the array " + key + " announces " + std::to_string(n) +
                                       " elements. The " + std::to_string(in_.left()) +
                                       " bytes that follow cannot hold them.");
    }
    switch (static_cast<GgufKind>(kind)) {
      case GgufKind::kU8:
        return read_list<std::uint8_t, std::uint64_t>(n);
      case GgufKind::kI8:
        return read_list<std::int8_t, std::int64_t>(n);
      case GgufKind::kU16:
        return read_list<std::uint16_t, std::uint64_t>(n);
      case GgufKind::kI16:
        return read_list<std::int16_t, std::int64_t>(n);
      case GgufKind::kU32:
        return read_list<std::uint32_t, std::uint64_t>(n);
      case GgufKind::kI32:
        return read_list<std::int32_t, std::int64_t>(n);
      case GgufKind::kF32:
        return read_list<float, double>(n);
      case GgufKind::kU64:
        return read_list<std::uint64_t, std::uint64_t>(n);
      case GgufKind::kI64:
        return read_list<std::int64_t, std::int64_t>(n);
      case GgufKind::kF64:
        return read_list<double, double>(n);
      case GgufKind::kBool: {
        std::vector<bool> list;
        for (std::uint64_t i = 0; i < n; ++i) list.push_back(read_bool());
        return list;
      }
      default: {
        std::vector<std::string> list;
        list.reserve(n);
        for (std::uint64_t i = 0; i < n; ++i)
          list.emplace_back(in_.read_string("a text of an array"));
        return list;
      }
    }
  }

  void read_alignment() {
    if (!out_.metadata.has("general.alignment")) return;
    const auto given = out_.metadata.integer("general.alignment");
    if (given < 1 || given > static_cast<std::int64_t>(kMaxAlignment) ||
        (given & (given - 1)) != 0) {
      in_.errors().corrupt(in_.offset(), "general.alignment is " + std::to_string(given) +
                                             ". It must be a power of two up to 2^20.");
    }
    alignment_ = static_cast<std::uint64_t>(given);
  }

  void read_tensor() {
    const std::uint64_t at = in_.offset();
    CheckpointTensor tensor;
    tensor.name = read_name("a tensor name");
    if (!names_.insert(tensor.name).second) {
      in_.errors().corrupt(at, "tensor " + tensor.name + " stands twice.");
    }
    const std::uint64_t dims_at = in_.offset();
    const auto n_dims = in_.read<std::uint32_t>("a number of dimensions");
    if (n_dims < 1 || n_dims > kMaxDims) {
      in_.errors().corrupt(dims_at, "tensor " + tensor.name + " has " + std::to_string(n_dims) +
                                        " dimensions. It must have 1 to 4.");
    }
    for (std::uint32_t d = 0; d < n_dims; ++d) {
      const std::uint64_t size_at = in_.offset();
      const auto size = in_.read<std::uint64_t>("a dimension");
      if (size < 1 || size > static_cast<std::uint64_t>(INT64_MAX)) {
        in_.errors().corrupt(
            size_at, "tensor " + tensor.name + " has a dimension of " + std::to_string(size) + ".");
      }
      tensor.shape.insert(tensor.shape.begin(), static_cast<std::int64_t>(size));
    }
    const std::uint64_t type_at = in_.offset();
    const auto type = in_.read<std::uint32_t>("a tensor type");
    const std::optional<WeightType> known = weight_type_of_ggml(type);
    if (!known) {
      in_.errors().fail(ErrorCode::kNotSupported, type_at,
                        "tensor " + tensor.name + " has ggml type " + std::to_string(type) + " (" +
                            ggml_type_name(type) + "), which is not supported.");
    }
    tensor.type = *known;
    offset_at_.push_back(in_.offset());
    offsets_.push_back(in_.read<std::uint64_t>("a tensor offset"));
    sizes_.push_back(bytes_of(tensor, dims_at));
    out_.tensors.push_back(std::move(tensor));
  }

  std::uint64_t bytes_of(const CheckpointTensor& tensor, std::uint64_t at) {
    const WeightTypeInfo& info = weight_type_info(tensor.type);
    if (tensor.shape.back() % info.block_elements != 0) {
      in_.errors().corrupt(at, "tensor " + tensor.name + " has rows of " +
                                   std::to_string(tensor.shape.back()) + " elements. " + info.name +
                                   " needs a multiple of " + std::to_string(info.block_elements) +
                                   ".");
    }
    std::uint64_t n = static_cast<std::uint64_t>(tensor.shape.back() / info.block_elements);
    bool fits = multiply(n, static_cast<std::uint64_t>(info.block_bytes), n);
    for (std::size_t d = 0; d + 1 < tensor.shape.size(); ++d) {
      fits = fits && multiply(n, static_cast<std::uint64_t>(tensor.shape[d]), n);
    }
    if (!fits)
      in_.errors().corrupt(at, "the size of tensor " + tensor.name + " does not fit 64 bits.");
    return n;
  }

  // Of a file that ends before its tensors do.
  std::string end_message(std::uint64_t start) const {
    std::uint64_t needed = 0;
    for (std::size_t i = 0; i < offsets_.size(); ++i) {
      std::uint64_t end = 0;
      if (!add(start, offsets_[i], end) || !add(end, sizes_[i], end)) {
        return "No file has so many bytes.";
      }
      needed = std::max(needed, end);
    }
    return "The file has " + std::to_string(bytes_.size()) + " bytes and needs at least " +
           std::to_string(needed) + ": is the download incomplete?";
  }

  // Offsets count from the aligned end of the infos; data must be aligned, inside the file, and
  // apart.
  void place_tensors() {
    const std::uint64_t start = (in_.offset() + alignment_ - 1) / alignment_ * alignment_;
    std::vector<std::size_t> order(out_.tensors.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    for (const std::size_t i : order) {
      CheckpointTensor& tensor = out_.tensors[i];
      if (offsets_[i] % alignment_ != 0) {
        in_.errors().corrupt(
            offset_at_[i], "tensor " + tensor.name + " has offset " + std::to_string(offsets_[i]) +
                               ". It must be a multiple of " + std::to_string(alignment_) + ".");
      }
      std::uint64_t begin = 0, end = 0;
      if (!add(start, offsets_[i], begin) || !add(begin, sizes_[i], end) || end > bytes_.size()) {
        in_.errors().corrupt(offset_at_[i], "tensor " + tensor.name + " has offset " +
                                                std::to_string(offsets_[i]) + " and " +
                                                std::to_string(sizes_[i]) + " bytes. " +
                                                end_message(start));
      }
      tensor.data = bytes_.subspan(begin, sizes_[i]);
    }
    std::sort(order.begin(), order.end(),
              [&](std::size_t a, std::size_t b) { return offsets_[a] < offsets_[b]; });
    for (std::size_t i = 1; i < order.size(); ++i) {
      const std::size_t a = order[i - 1], b = order[i];
      if (offsets_[a] + sizes_[a] > offsets_[b]) {
        in_.errors().corrupt(offset_at_[b], "tensors " + out_.tensors[a].name + " and " +
                                                out_.tensors[b].name + " overlap.");
      }
    }
  }

  std::span<const std::byte> bytes_;
  ByteReader in_;
  GgufContents out_;
  std::uint64_t alignment_ = kDefaultAlignment;
  std::unordered_set<std::string> names_;
  std::vector<std::uint64_t> offsets_, offset_at_, sizes_;  // of each tensor
};

}  // namespace

GgufContents parse_gguf(std::span<const std::byte> bytes, std::string_view file) {
  return GgufParser(bytes, file).parse();
}

std::unique_ptr<Checkpoint> open_gguf(MappedFile file) {
  GgufContents contents = parse_gguf(file.bytes(), file.path());
  std::vector<MappedFile> files;
  files.push_back(std::move(file));
  return std::make_unique<MappedCheckpoint>(CheckpointFormat::kGguf, std::move(contents.metadata),
                                            std::move(contents.tensors), std::move(files), "");
}

}  // namespace raptly
