#include "models/tokenizer_source.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>
#include <utility>

#include "raptly/error.h"

namespace raptly {
namespace {

// GGUF's token types.
enum GgufTokenType : std::int64_t {
  kGgufNormal = 1,
  kGgufUnknown = 2,
  kGgufControl = 3,
  kGgufUserDefined = 4,
  kGgufUnused = 5,
  kGgufByte = 6,
};

TokenKind token_kind(std::int64_t type) {
  switch (type) {
    case kGgufNormal:
    case kGgufByte:
      return TokenKind::kNormal;
    case kGgufUnknown:
    case kGgufControl:
      return TokenKind::kControl;
    case kGgufUserDefined:
      return TokenKind::kUserDefined;
    case kGgufUnused:
      return TokenKind::kUnused;
    default:
      throw Error(ErrorCode::kCorruptFile, "[models] tokenizer.ggml.token_type has a " +
                                               std::to_string(type) + ". Allowed are 1 .. 6.");
  }
}

// "a b" -> (a, b). The blank that parts them is the first one that is not at the start: the pieces
// are in GPT-2's byte alphabet, which has no blank.
std::pair<std::string, std::string> split_merge(const std::string& merge) {
  const std::size_t blank = merge.find(' ', 1);
  if (blank == std::string::npos || blank + 1 == merge.size()) {
    throw Error(ErrorCode::kCorruptFile, "[models] tokenizer.ggml.merges has '" + merge +
                                             "'. A merge is two pieces and a blank.");
  }
  return {merge.substr(0, blank), merge.substr(blank + 1)};
}

std::optional<TokenId> optional_id(const Metadata& metadata, const char* name,
                                   std::size_t n_tokens) {
  const std::string key = std::string("tokenizer.ggml.") + name + "_token_id";
  if (!metadata.has(key)) return std::nullopt;
  const std::int64_t id = metadata.integer(key);
  if (id < 0 || id >= static_cast<std::int64_t>(n_tokens)) {
    throw Error(ErrorCode::kCorruptFile, "[models] " + key + " is " + std::to_string(id) +
                                             ". There are " + std::to_string(n_tokens) +
                                             " tokens.");
  }
  return static_cast<TokenId>(id);
}

void add_end_token(TokenizerSpec& spec, std::optional<TokenId> id) {
  if (id &&
      std::find(spec.end_tokens.begin(), spec.end_tokens.end(), *id) == spec.end_tokens.end()) {
    spec.end_tokens.push_back(*id);
  }
}

std::optional<std::string> read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::nullopt;
  return std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

TokenizerSpec spec_from_directory(const Checkpoint& checkpoint, const std::string& json) {
  const std::string directory = checkpoint.directory() + "/";
  TokenizerSpec spec =
      tokenizer_spec_from_json(json, read_text(directory + "tokenizer_config.json").value_or(""));
  if (spec.chat_template.empty()) {
    spec.chat_template = read_text(directory + "chat_template.jinja").value_or("");
  }
  const Metadata& config = checkpoint.metadata();
  const auto found = config.all().find("eos_token_id");
  if (found == config.all().end()) return spec;
  const bool list = std::holds_alternative<std::vector<std::int64_t>>(found->second) ||
                    std::holds_alternative<std::vector<std::uint64_t>>(found->second);
  if (!list && !config.has("eos_token_id")) return spec;
  for (const std::int64_t id : list ? config.integers("eos_token_id")
                                    : std::vector<std::int64_t>{config.integer("eos_token_id")}) {
    if (id >= 0 && id < static_cast<std::int64_t>(spec.tokens.size())) {
      add_end_token(spec, static_cast<TokenId>(id));
    }
  }
  return spec;
}

}  // namespace

TokenizerSpec tokenizer_spec_from_gguf(const Metadata& metadata) {
  const std::string model = metadata.text("tokenizer.ggml.model");
  if (model != "gpt2") {
    throw Error(ErrorCode::kNotSupported, "[models] tokenizer.ggml.model is '" + model +
                                              "'. Supported is 'gpt2' (byte-level BPE).");
  }
  TokenizerSpec spec;
  spec.tokens = metadata.texts("tokenizer.ggml.tokens");
  spec.pre_tokenizer = metadata.text("tokenizer.ggml.pre");
  const std::size_t n = spec.tokens.size();
  if (metadata.has("tokenizer.ggml.token_type")) {
    for (const std::int64_t type : metadata.integers("tokenizer.ggml.token_type")) {
      spec.kinds.push_back(token_kind(type));
    }
    if (spec.kinds.size() != n) {
      throw Error(ErrorCode::kCorruptFile, "[models] tokenizer.ggml.token_type has " +
                                               std::to_string(spec.kinds.size()) + " entries for " +
                                               std::to_string(n) + " tokens.");
    }
  } else {
    spec.kinds.assign(n, TokenKind::kNormal);
  }
  for (const std::string& merge : metadata.texts("tokenizer.ggml.merges")) {
    spec.merges.push_back(split_merge(merge));
  }
  spec.bos = optional_id(metadata, "bos", n);
  spec.eos = optional_id(metadata, "eos", n);
  spec.eot = optional_id(metadata, "eot", n);
  spec.unk = optional_id(metadata, "unknown", n);
  spec.pad = optional_id(metadata, "padding", n);
  // Llama 3 files leave the keys out and mean true, as llama.cpp reads them.
  spec.add_bos =
      metadata.boolean_or("tokenizer.ggml.add_bos_token", spec.pre_tokenizer == "llama-bpe");
  spec.add_eos = metadata.boolean_or("tokenizer.ggml.add_eos_token", false);
  spec.ignore_merges = spec.pre_tokenizer == "llama-bpe";
  spec.chat_template = metadata.text_or("tokenizer.chat_template", "");
  add_known_end_tokens(spec);
  return spec;
}

std::optional<TokenizerSpec> tokenizer_spec(const Checkpoint& checkpoint) {
  if (checkpoint.format() == CheckpointFormat::kGguf) {
    if (!checkpoint.metadata().has("tokenizer.ggml.model")) return std::nullopt;
    return tokenizer_spec_from_gguf(checkpoint.metadata());
  }
  if (checkpoint.directory().empty()) return std::nullopt;
  const std::optional<std::string> json = read_text(checkpoint.directory() + "/tokenizer.json");
  if (!json) return std::nullopt;
  return spec_from_directory(checkpoint, *json);
}

}  // namespace raptly
