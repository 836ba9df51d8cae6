#include "formats/safetensors.h"

#include <algorithm>
#include <array>
#include <optional>
#include <tuple>
#include <utility>

#include "formats/byte_reader.h"
#include "formats/json_reader.h"
#include "formats/mapped_checkpoint.h"

namespace raptly {
namespace {

using nlohmann::json;

constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit
constexpr std::size_t kMaxDims = 8;

struct SafeType {
  const char* name;
  unsigned bytes;
  std::optional<WeightType> weight;
};
constexpr std::array<SafeType, 15> kTypes = {{
    {"F32", 4, WeightType::kF32},
    {"F16", 2, WeightType::kF16},
    {"BF16", 2, WeightType::kBf16},
    {"F64", 8, {}},
    {"I64", 8, {}},
    {"I32", 4, {}},
    {"I16", 2, {}},
    {"I8", 1, {}},
    {"U64", 8, {}},
    {"U32", 4, {}},
    {"U16", 2, {}},
    {"U8", 1, {}},
    {"BOOL", 1, {}},
    {"F8_E4M3", 1, {}},
    {"F8_E5M2", 1, {}},
}};

// One entry of the header, checked; offsets are relative to the data.
struct Entry {
  CheckpointTensor tensor;
  bool readable = false;
  std::uint64_t begin = 0, end = 0;
};

class HeaderParser {
 public:
  HeaderParser(const FileErrors& errors, std::uint64_t data_bytes)
      : errors_(errors), data_bytes_(data_bytes) {}

  Entry parse(const std::string& name, const json& value) {
    name_ = &name;
    if (!value.is_object()) corrupt("is not an object.");
    Entry entry;
    entry.tensor.name = name;
    const SafeType& type = type_of(value);
    entry.readable = type.weight.has_value();
    entry.tensor.type = type.weight.value_or(WeightType::kF32);
    std::uint64_t size = type.bytes;
    const json& shape = member(value, "shape");
    if (!shape.is_array() || shape.size() > kMaxDims)
      corrupt("has a shape that is no list of up to 8 sizes.");
    for (const json& n : shape) {
      if (!n.is_number_unsigned()) corrupt("has a shape that is no list of up to 8 sizes.");
      entry.tensor.shape.push_back(static_cast<std::int64_t>(n.get<std::uint64_t>()));
      if (n.get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX) ||
          !multiply(size, n.get<std::uint64_t>(), size)) {
        corrupt("has a size that does not fit 64 bits.");
      }
    }
    const json& offsets = member(value, "data_offsets");
    if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
        !offsets[1].is_number_unsigned()) {
      corrupt("has data_offsets that are not [begin, end].");
    }
    entry.begin = offsets[0].get<std::uint64_t>();
    entry.end = offsets[1].get<std::uint64_t>();
    if (entry.begin > entry.end || entry.end > data_bytes_) {
      corrupt("has data_offsets [" + std::to_string(entry.begin) + ", " +
              std::to_string(entry.end) + "]. The data has " + std::to_string(data_bytes_) +
              " bytes.");
    }
    if (entry.end - entry.begin != size) {
      corrupt("has " + std::to_string(entry.end - entry.begin) +
              " bytes of data. Its shape and dtype need " + std::to_string(size) + ".");
    }
    return entry;
  }

 private:
  [[noreturn]] void corrupt(const std::string& message) const {
    errors_.corrupt(8, "tensor " + *name_ + " " + message);
  }
  const json& member(const json& value, const char* key) const {
    const auto found = value.find(key);
    if (found == value.end()) corrupt("has no " + std::string(key) + ".");
    return *found;
  }
  const SafeType& type_of(const json& value) const {
    const json& dtype = member(value, "dtype");
    for (const SafeType& type : kTypes) {
      if (dtype.is_string() && dtype.get_ref<const std::string&>() == type.name) return type;
    }
    corrupt("has dtype " + dtype.dump().substr(0, 40) + ", which is not known.");
  }

  const FileErrors& errors_;
  std::uint64_t data_bytes_;
  const std::string* name_ = nullptr;
};

void check_cover(std::vector<Entry>& entries, std::uint64_t data_bytes, const FileErrors& errors) {
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.begin, a.end, a.tensor.name) < std::tie(b.begin, b.end, b.tensor.name);
  });
  std::uint64_t at = 0;
  for (const Entry& entry : entries) {
    if (entry.begin != at) {
      errors.corrupt(8, "tensor " + entry.tensor.name + " begins at " +
                            std::to_string(entry.begin) + ". The data before it ends at " +
                            std::to_string(at) + ".");
    }
    at = entry.end;
  }
  if (at != data_bytes) {
    errors.corrupt(8, "the tensors end at " + std::to_string(at) + ". The data has " +
                          std::to_string(data_bytes) + " bytes.");
  }
}

}  // namespace

SafetensorsContents parse_safetensors(std::span<const std::byte> bytes, std::string_view file) {
  const FileErrors errors{"safetensors", file};
  ByteReader in(bytes, errors);
  const auto length = in.read<std::uint64_t>("the header length");
  if (length > kMaxHeaderBytes) {
    errors.corrupt(0,
                   "the header has " + std::to_string(length) + " bytes. It may have 100000000.");
  }
  const auto header = in.take(length, "the header");
  const std::string_view text(reinterpret_cast<const char*>(header.data()), header.size());
  if (text.empty() || text[0] != '{') errors.corrupt(8, "the header does not begin with {.");
  const json object = parse_json(text, errors, 8);
  SafetensorsContents out;
  std::vector<Entry> entries;
  HeaderParser parser(errors, in.left());
  for (const auto& [name, value] : object.items()) {
    if (name == "__metadata__") {
      out.metadata = flatten_json(value);
    } else {
      entries.push_back(parser.parse(name, value));
    }
  }
  check_cover(entries, in.left(), errors);
  const auto data = bytes.subspan(in.offset());
  for (Entry& entry : entries) {
    entry.tensor.data = data.subspan(entry.begin, entry.end - entry.begin);
    if (entry.readable) {
      out.tensors.push_back(std::move(entry.tensor));
    } else {
      out.skipped.push_back(entry.tensor.name);
    }
  }
  return out;
}

std::unique_ptr<Checkpoint> open_safetensors(MappedFile file) {
  SafetensorsContents contents = parse_safetensors(file.bytes(), file.path());
  std::vector<MappedFile> files;
  files.push_back(std::move(file));
  return std::make_unique<MappedCheckpoint>(CheckpointFormat::kSafetensors,
                                            std::move(contents.metadata),
                                            std::move(contents.tensors), std::move(files), "");
}

}  // namespace raptly
