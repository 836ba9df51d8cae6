#include "models/registry.h"

#include "models/llama.h"
#include "raptly/error.h"

namespace raptly {
namespace {

struct Entry {
  const char* architecture;
  ModelFactory factory;
};
constexpr Entry kModels[] = {
    {"llama", &load_llama},
    {"mistral", &load_llama},
    {"qwen2", &load_llama},
};

}  // namespace

ModelFactory find_model_factory(const std::string& architecture) {
  std::string known;
  for (const Entry& entry : kModels) {
    if (architecture == entry.architecture) return entry.factory;
    known += (known.empty() ? "" : ", ") + std::string(entry.architecture);
  }
  throw Error(ErrorCode::kNotSupported, "[models] architecture '" + architecture +
                                            "' is not supported. Known are " + known + ".");
}

std::unique_ptr<Model> load_model(const std::string& path, const LoadOptions& options,
                                  ExecutionContext& context) {
  std::unique_ptr<Checkpoint> checkpoint = open_checkpoint(path);
  if (checkpoint->format() == CheckpointFormat::kSafetensors) {
    throw Error(ErrorCode::kNotSupported,
                "[models] " + path +
                    " is a bare .safetensors file. Give the directory that has its "
                    "config.json.");
  }
  const char* key =
      checkpoint->format() == CheckpointFormat::kGguf ? "general.architecture" : "model_type";
  const ModelFactory factory = find_model_factory(checkpoint->metadata().text(key));
  return factory(std::move(checkpoint), options, context);
}

}  // namespace raptly
