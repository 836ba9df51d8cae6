#include <cstring>
#include <filesystem>
#include <set>
#include <utility>

#include "formats/checkpoint.h"
#include "formats/gguf.h"
#include "formats/json_reader.h"
#include "formats/mapped_checkpoint.h"
#include "formats/safetensors.h"
#include "raptly/error.h"

namespace raptly {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::string_view text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

json read_object(const fs::path& path) {
  const MappedFile file(path.string());
  const FileErrors errors{"json", file.path()};
  json object = parse_json(text_of(file), errors);
  if (!object.is_object()) errors.corrupt(0, "the file does not hold a JSON object.");
  return object;
}

// The shards that model.safetensors.index.json names, each once.
std::vector<std::string> shards_of(const fs::path& index) {
  const json object = read_object(index);
  const FileErrors errors{"safetensors", index.native()};
  const auto map = object.find("weight_map");
  if (map == object.end() || !map->is_object()) errors.corrupt(0, "weight_map is missing.");
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : map->items()) {
    if (!shard.is_string())
      errors.corrupt(0, "the shard of tensor " + tensor + " is not a file name.");
    const std::string& name = shard.get_ref<const std::string&>();
    if (name.empty() || fs::path(name).filename() != fs::path(name) || name == "..") {
      errors.corrupt(0, "shard \"" + name + "\" is not a file name inside the directory.");
    }
    shards.insert(name);
  }
  return {shards.begin(), shards.end()};
}

// fs::exists with our error where the system does not tell.
bool has_file(const fs::path& path) {
  std::error_code error;
  const bool found = fs::exists(path, error);
  if (error) throw Error(ErrorCode::kIo, "[model] " + path.string() + ": " + error.message() + ".");
  return found;
}

std::unique_ptr<Checkpoint> open_directory(const fs::path& directory) {
  const fs::path config = directory / "config.json";
  if (!has_file(config)) {
    throw Error(ErrorCode::kNotFound, "[model] " + directory.string() +
                                          " has no config.json. A model directory needs one.");
  }
  Metadata metadata = flatten_json(read_object(config));
  if (const fs::path generation = directory / "generation_config.json"; has_file(generation)) {
    const Metadata settings = flatten_json(read_object(generation));
    for (const auto& [key, value] : settings.all()) metadata.set("generation." + key, value);
  }
  std::vector<std::string> names = {"model.safetensors"};
  if (const fs::path index = directory / "model.safetensors.index.json"; has_file(index)) {
    names = shards_of(index);
  }
  std::vector<MappedFile> files;
  std::vector<CheckpointTensor> tensors;
  std::set<std::string> seen;
  for (const std::string& name : names) {
    MappedFile file((directory / name).string());
    SafetensorsContents contents = parse_safetensors(file.bytes(), file.path());
    for (CheckpointTensor& tensor : contents.tensors) {
      if (!seen.insert(tensor.name).second) {
        FileErrors{"safetensors", file.path()}.corrupt(
            8, "tensor " + tensor.name + " is in another shard too.");
      }
      tensors.push_back(std::move(tensor));
    }
    files.push_back(std::move(file));
  }
  return std::make_unique<MappedCheckpoint>(CheckpointFormat::kHfDirectory, std::move(metadata),
                                            std::move(tensors), std::move(files),
                                            directory.string());
}

}  // namespace

std::unique_ptr<Checkpoint> open_checkpoint(const std::string& path) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) return open_directory(path);
  MappedFile file(path);
  const auto bytes = file.bytes();
  if (bytes.empty()) {
    throw Error(ErrorCode::kCorruptFile,
                "[model] " + path + " is empty, it has 0 bytes. Was it downloaded?");
  }
  if (bytes.size() >= 4 && std::memcmp(bytes.data(), "GGUF", 4) == 0)
    return open_gguf(std::move(file));
  if (bytes.size() >= 9 && bytes[8] == std::byte{'{'}) return open_safetensors(std::move(file));
  throw Error(ErrorCode::kNotSupported,
              "[model] " + path +
                  " is neither GGUF nor safetensors. Give such a file, or a model directory.");
}

}  // namespace raptly
