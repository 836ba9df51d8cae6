// HF's tokenizer.json and tokenizer_config.json. Every field that could change the ids is either
// understood or refused by name.
#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "raptly/error.h"
#include "raptly/tokenizer.h"
#include "text/json.h"
#include "text/pre_tokenizer.h"

namespace raptly {
namespace {

using nlohmann::json;

constexpr const char* kFile = "tokenizer.json";
constexpr const char* kConfigFile = "tokenizer_config.json";
constexpr std::int64_t kMaxGap = 65536;  // ids without a token; more is no vocabulary

[[noreturn]] void corrupt(const std::string& message) {
  throw Error(ErrorCode::kCorruptFile, "[text] " + message);
}
[[noreturn]] void not_supported(const std::string& message) {
  throw Error(ErrorCode::kNotSupported, "[text] tokenizer.json: " + message);
}

const json kNull;

// A member, or null where there is none.
const json& member(const json& object, const char* name) {
  if (!object.is_object()) return kNull;
  const auto found = object.find(name);
  return found == object.end() ? kNull : *found;
}

std::string string_of(const json& value, const std::string& what) {
  if (!value.is_string())
    corrupt(what + " is " + std::string(value.type_name()) + ", not a string.");
  return value.get<std::string>();
}

bool bool_of(const json& object, const char* name, bool when_absent) {
  const json& value = member(object, name);
  if (value.is_null()) return when_absent;
  if (!value.is_boolean()) {
    corrupt(std::string("\"") + name + "\" is " + value.type_name() + ", not true or false.");
  }
  return value.get<bool>();
}

std::int64_t id_of(const json& value, const std::string& what) {
  if (!value.is_number_integer() || value < 0 || value >= (std::int64_t{1} << 24)) {
    corrupt("the id of " + what + " is " + value.dump() + ". 0 to 2^24 - 1 are allowed.");
  }
  return value.get<std::int64_t>();
}

std::string type_of(const json& step) {
  return string_of(member(step, "type"), std::string(kFile) + ": the \"type\" of a step");
}

// Shortened for a message.
std::string shown(const json& value) {
  std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
  if (text.size() > 300) text = text.substr(0, 300) + "...";
  return text;
}

// A step, or the steps of a Sequence; null is none.
void flatten(const json& step, const char* list_name, std::vector<const json*>& out) {
  if (step.is_null()) return;
  if (type_of(step) != "Sequence") {
    out.push_back(&step);
    return;
  }
  const json& list = member(step, list_name);
  if (!list.is_array()) {
    corrupt(std::string(kFile) + ": a Sequence has no list \"" + list_name + "\".");
  }
  for (const json& inner : list) flatten(inner, list_name, out);
}

bool reads_nfc(const json& normalizer) {
  std::vector<const json*> steps;
  flatten(normalizer, "normalizers", steps);
  for (const json* step : steps) {
    if (type_of(*step) != "NFC") not_supported("normalizer is " + shown(*step) + ". Known is NFC.");
  }
  return !steps.empty();
}

// The pattern that one step of a pre-tokenizer cuts by; empty: it only maps bytes to characters.
std::string pattern_of(const json& step) {
  const std::string type = type_of(step);
  if (type == "Digits" && bool_of(step, "individual_digits", false)) {
    return std::string(kDigitPattern);
  }
  if (type == "ByteLevel" && !bool_of(step, "add_prefix_space", true)) {
    return std::string(bool_of(step, "use_regex", true) ? kGpt2Pattern : std::string_view());
  }
  const json& pattern = member(member(step, "pattern"), "Regex");
  if (type == "Split" && pattern.is_string() && member(step, "behavior") == "Isolated" &&
      !bool_of(step, "invert", false)) {
    return pattern.get<std::string>();
  }
  not_supported("pre-tokenizer has the step " + shown(step) +
                ". Known are Digits (individual), Split (by a Regex, Isolated) and ByteLevel "
                "(without a prefix space).");
}

std::string pre_tokenizer_of(const json& value) {
  std::vector<const json*> steps;
  flatten(value, "pretokenizers", steps);
  std::vector<std::string> patterns;
  bool byte_level = false;
  for (const json* step : steps) {
    if (byte_level)
      not_supported("pre-tokenizer has a step after ByteLevel: " + shown(*step) + ".");
    byte_level = type_of(*step) == "ByteLevel";
    if (std::string pattern = pattern_of(*step); !pattern.empty()) {
      patterns.push_back(std::move(pattern));
    }
  }
  if (!byte_level) {
    not_supported("pre-tokenizer is " + shown(value) + ". It must end in ByteLevel.");
  }
  for (const PreTokenizerInfo& info : pre_tokenizers()) {
    if (std::equal(patterns.begin(), patterns.end(), info.steps.begin(), info.steps.end())) {
      return std::string(info.name);
    }
  }
  not_supported("pre-tokenizer is " + shown(value) + ". Known are those of " +
                pre_tokenizer_names() + ".");
}

class SpecReader {
 public:
  SpecReader(const json& file, const json& config) : file_(file), config_(config) {}

  TokenizerSpec read() {
    check_model();
    read_vocab();
    read_added_tokens();
    read_merges();
    spec_.pre_tokenizer = pre_tokenizer_of(member(file_, "pre_tokenizer"));
    spec_.nfc = reads_nfc(member(file_, "normalizer"));
    check_decoder();
    read_config();
    read_post_processor();
    add_known_end_tokens(spec_);
    return std::move(spec_);
  }

 private:
  const json& model() const { return member(file_, "model"); }

  void check_model() const {
    if (!file_.is_object() || !model().is_object()) {
      corrupt(std::string(kFile) + " has no object \"model\".");
    }
    const json& type = member(model(), "type");
    if (!type.is_null() && type != "BPE") {
      not_supported("model is " + shown(type) + ". Known is BPE.");
    }
    const auto refuse = [&](const char* name) {
      not_supported(std::string("model has \"") + name + "\": " + shown(member(model(), name)) +
                    ". It must be absent, null, empty or false.");
    };
    for (const char* name : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"}) {
      const json& value = member(model(), name);
      if (!value.is_null() && value != "" && value != 0) refuse(name);
    }
    for (const char* name : {"byte_fallback", "fuse_unk"}) {
      if (bool_of(model(), name, false)) refuse(name);
    }
  }

  void read_vocab() {
    const json& vocab = member(model(), "vocab");
    if (!vocab.is_object()) corrupt(std::string(kFile) + ": model has no object \"vocab\".");
    n_entries_ = static_cast<std::int64_t>(vocab.size());
    for (const auto& [token, id] : vocab.items()) put(token, id, TokenKind::kNormal);
    spec_.ignore_merges = bool_of(model(), "ignore_merges", false);
  }

  void put(const std::string& token, const json& id_value, TokenKind kind) {
    const std::int64_t id = id_of(id_value, "\"" + token + "\"");
    if (id > 2 * n_entries_ + kMaxGap) {
      corrupt("the id of \"" + token + "\" is " + std::to_string(id) + ", far beyond the " +
              std::to_string(n_entries_) + " tokens there are.");
    }
    const auto i = static_cast<std::size_t>(id);
    if (i >= spec_.tokens.size()) {
      spec_.tokens.resize(i + 1);
      spec_.kinds.resize(i + 1, TokenKind::kUnused);
    }
    if (spec_.kinds[i] != TokenKind::kUnused && spec_.tokens[i] != token) {
      corrupt("\"" + spec_.tokens[i] + "\" and \"" + token + "\" both have the id " +
              std::to_string(id) + ".");
    }
    spec_.tokens[i] = token;
    spec_.kinds[i] = kind;
  }

  void read_added_tokens() {
    const json& list = member(file_, "added_tokens");
    if (list.is_null()) return;
    if (!list.is_array()) corrupt(std::string(kFile) + ": \"added_tokens\" is not a list.");
    n_entries_ += static_cast<std::int64_t>(list.size());
    const json& vocab = member(model(), "vocab");
    for (const json& added : list) {
      const std::string token = string_of(member(added, "content"),
                                          std::string(kFile) + ": the content of an added token");
      for (const char* name : {"lstrip", "rstrip", "single_word"}) {
        if (bool_of(added, name, false)) {
          not_supported("the added token \"" + token + "\" has \"" + name + "\": true.");
        }
      }
      if (const auto in_vocab = vocab.find(token);
          in_vocab != vocab.end() && *in_vocab != member(added, "id")) {
        corrupt("\"" + token + "\" has the id " + in_vocab->dump() + " in the vocabulary and " +
                member(added, "id").dump() + " as an added token.");
      }
      put(token, member(added, "id"),
          bool_of(added, "special", false) ? TokenKind::kControl : TokenKind::kUserDefined);
    }
  }

  void read_merges() {
    const json& merges = member(model(), "merges");
    if (!merges.is_array()) corrupt(std::string(kFile) + ": model has no list \"merges\".");
    spec_.merges.reserve(merges.size());
    for (const json& merge : merges) {
      const std::string name =
          std::string(kFile) + ": merge " + std::to_string(spec_.merges.size());
      if (merge.is_array() && merge.size() == 2) {
        spec_.merges.emplace_back(string_of(merge[0], name), string_of(merge[1], name));
        continue;
      }
      if (!merge.is_string())
        corrupt(name + " is " + shown(merge) + ". \"a b\" or [\"a\", \"b\"].");
      const std::string& text = merge.get_ref<const std::string&>();
      const std::size_t space = text.find(' ');
      if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) {
        corrupt(name + " is " + shown(merge) + ". It must be two tokens with one space between.");
      }
      spec_.merges.emplace_back(text.substr(0, space), text.substr(space + 1));
    }
  }

  void check_decoder() const {
    std::vector<const json*> steps;
    flatten(member(file_, "decoder"), "decoders", steps);
    for (const json* step : steps) {
      if (type_of(*step) != "ByteLevel") {
        not_supported("decoder is " + shown(*step) + ". Known is ByteLevel.");
      }
    }
  }

  std::optional<TokenId> find(const std::string& token) const {
    const auto found = std::find(spec_.tokens.begin(), spec_.tokens.end(), token);
    if (found == spec_.tokens.end()) return std::nullopt;
    return static_cast<TokenId>(found - spec_.tokens.begin());
  }

  // A token of the config: a string, an object with "content", or null.
  std::optional<TokenId> config_token(const char* name) const {
    const json& value = member(config_, name);
    if (value.is_null()) return std::nullopt;
    const std::string what = std::string(kConfigFile) + ": \"" + name + "\"";
    const std::string token = string_of(value.is_object() ? member(value, "content") : value, what);
    const std::optional<TokenId> id = find(token);
    if (!id) corrupt(what + " is \"" + token + "\", which is not a token.");
    return id;
  }

  void read_config() {
    spec_.bos = config_token("bos_token");
    spec_.eos = config_token("eos_token");
    spec_.pad = config_token("pad_token");
    spec_.unk = config_token("unk_token");
    const json& unk = member(model(), "unk_token");
    if (unk.is_string() && unk != "") {
      spec_.unk = find(unk.get<std::string>());
      if (!spec_.unk)
        corrupt(std::string(kFile) + ": unk_token " + shown(unk) + " is not a token.");
      spec_.unk_for_missing = true;
    }
    spec_.chat_template = chat_template();
  }

  std::string chat_template() const {
    const json& value = member(config_, "chat_template");
    if (value.is_null()) return {};
    if (value.is_string()) return value.get<std::string>();
    if (!value.is_array()) {
      corrupt(std::string(kConfigFile) + ": \"chat_template\" is " + value.type_name() +
              ". A string or a list of {\"name\", \"template\"} is allowed.");
    }
    for (const json& entry : value) {
      if (member(entry, "name") == "default") {
        return string_of(member(entry, "template"),
                         std::string(kConfigFile) + ": the default chat_template");
      }
    }
    return {};
  }

  // Which special tokens go around a text: what add_bos_token and add_eos_token of the config say,
  // or else what the post-processor does.
  void read_post_processor() {
    std::vector<const json*> steps;
    flatten(member(file_, "post_processor"), "processors", steps);
    for (const json* step : steps) {
      const std::string type = type_of(*step);
      if (type == "TemplateProcessing") {
        read_template(member(*step, "single"));
      } else if (type != "ByteLevel") {
        not_supported("post_processor has the step " + shown(*step) +
                      ". Known are TemplateProcessing and ByteLevel.");
      }
    }
    spec_.add_bos = bool_of(config_, "add_bos_token", spec_.add_bos) && spec_.bos.has_value();
    spec_.add_eos = bool_of(config_, "add_eos_token", spec_.add_eos) && spec_.eos.has_value();
  }

  void read_template(const json& single) {
    if (!single.is_array()) corrupt(std::string(kFile) + ": TemplateProcessing has no \"single\".");
    bool after_text = false;
    for (const json& part : single) {
      if (!member(part, "Sequence").is_null()) {
        after_text = true;
        continue;
      }
      const json& token = member(member(part, "SpecialToken"), "id");
      const std::optional<TokenId> id =
          token.is_string() ? find(token.get<std::string>()) : std::nullopt;
      auto& own = after_text ? spec_.eos : spec_.bos;
      auto& add = after_text ? spec_.add_eos : spec_.add_bos;
      if (id && !own) own = id;
      if (!id || id != own || add) {
        not_supported("TemplateProcessing has the part " + shown(part) + ". Known are " +
                      (after_text ? "EOS after" : "BOS before") + " the text.");
      }
      add = true;
    }
  }

  const json& file_;
  const json& config_;
  TokenizerSpec spec_;
  std::int64_t n_entries_ = 0;
};

}  // namespace

void add_known_end_tokens(TokenizerSpec& spec) {
  static constexpr std::array<std::string_view, 8> kKnown = {
      "<|im_end|>",      "<|eot_id|>",    "<|eom_id|>",    "<|end|>",
      "<|end_of_text|>", "<|endoftext|>", "<end_of_turn>", "<|return|>"};
  static constexpr std::size_t kTurns = 4;  // the first ones end a turn, the others a text
  const auto add = [&](std::optional<TokenId> id) {
    if (!id) return;
    auto& ends = spec.end_tokens;
    if (std::find(ends.begin(), ends.end(), *id) == ends.end()) ends.push_back(*id);
  };
  add(spec.eos);
  add(spec.eot);
  const std::size_t n = std::min(spec.tokens.size(), spec.kinds.size());
  for (std::size_t k = 0; k < kKnown.size(); ++k) {
    for (std::size_t i = 0; i < n; ++i) {
      if (spec.kinds[i] != TokenKind::kControl || spec.tokens[i] != kKnown[k]) continue;
      add(static_cast<TokenId>(i));
      if (k < kTurns && !spec.eot) spec.eot = static_cast<TokenId>(i);
    }
  }
}

TokenizerSpec tokenizer_spec_from_json(std::string_view tokenizer_json,
                                       std::string_view tokenizer_config_json) {
  const json file = parse_json(tokenizer_json, kFile);
  const json config =
      tokenizer_config_json.empty() ? json() : parse_json(tokenizer_config_json, kConfigFile);
  if (!tokenizer_config_json.empty() && !config.is_object()) {
    corrupt(std::string(kConfigFile) + " is not an object.");
  }
  return SpecReader(file, config).read();
}

}  // namespace raptly
