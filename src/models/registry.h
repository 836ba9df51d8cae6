// Architectures that raptly knows: one line each. A new model is one file here, one line in
// registry.cc and a golden.
#pragma once

#include <memory>
#include <string>

#include "formats/checkpoint.h"
#include "raptly/model.h"

namespace raptly {

using ModelFactory = std::unique_ptr<Model> (*)(std::unique_ptr<Checkpoint>, const LoadOptions&,
                                                ExecutionContext&);

// "general.architecture" of a GGUF file, "model_type" of an HF directory.
// Throws kNotSupported naming the architecture and the known ones.
ModelFactory find_model_factory(const std::string& architecture);

}  // namespace raptly
