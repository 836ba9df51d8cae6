// JSON of model files, read with limits: nesting of 64, no duplicate keys, UTF-8 only.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

#include "formats/byte_reader.h"
#include "formats/checkpoint.h"

namespace raptly {

// Throws kCorruptFile with the byte offset (counted from `base`).
nlohmann::json parse_json(std::string_view text, const FileErrors& errors, std::uint64_t base = 0);

// {"a": {"b": 1}} becomes a.b = 1. Lists of one kind become lists, others are left out (no reader
// of config.json asks for them), and so are empty lists.
Metadata flatten_json(const nlohmann::json& object);

}  // namespace raptly
