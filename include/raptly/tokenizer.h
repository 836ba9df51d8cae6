// Text to token ids and back: byte-level BPE (GPT-2 and its descendants).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace raptly {

using TokenId = std::int32_t;

enum class TokenKind : std::uint8_t {
  kNormal,
  kControl,      // special: parsed from text only where the caller allows it, not shown
  kUserDefined,  // parsed from text always, shown
  kUnused,       // an id without a token
};

// Everything a tokenizer needs, from whichever file it came.
struct TokenizerSpec {
  std::vector<std::string> tokens;  // in GPT-2's byte alphabet, except control and user tokens
  std::vector<TokenKind> kinds;     // same length
  std::vector<std::pair<std::string, std::string>> merges;  // by rank
  std::string pre_tokenizer;  // "smollm", "gpt-2", "llama-bpe", "qwen2"
  std::optional<bool> nfc;    // NFC before splitting; unset: as the pre-tokenizer's own model
  std::optional<TokenId> bos, eos, eot, unk, pad;
  std::vector<TokenId> end_tokens;  // generation stops at any of these
  bool add_bos = false;
  bool add_eos = false;
  bool ignore_merges = false;    // llama-bpe: a word that is a token is that token
  bool unk_for_missing = false;  // a byte without a token is unk; otherwise it is dropped
  std::string chat_template;     // Jinja source; empty: none
};

// From the text of HF's tokenizer.json and tokenizer_config.json (may be empty). The pre-tokenizer
// is recognised by its regexes and steps; one that is not known is an error (kNotSupported), never
// a silent default.
TokenizerSpec tokenizer_spec_from_json(std::string_view tokenizer_json,
                                       std::string_view tokenizer_config_json);

// Adds to end_tokens, once each: eos, eot, and the control tokens that chat models are known to end
// a turn with ("<|im_end|>", "<|eot_id|>", "<|endoftext|>", ...), whichever of them there are. Sets
// eot to the first of those if it is unset.
void add_known_end_tokens(TokenizerSpec& spec);

enum class SpecialTokens { kText, kParse };  // what "<|im_start|>" in a text means

class Tokenizer {
 public:
  // Throws kCorruptFile (inconsistent tables), kNotSupported (unknown pre-tokenizer).
  explicit Tokenizer(TokenizerSpec spec);  // spec() has no merges any more: they live in a table
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  // Ids of `text`, which may be any bytes (at most 2^30): decode() gives them back, except for what
  // NFC changes and for bytes that the vocabulary lacks. A sequence that is not UTF-8 is split as
  // U+FFFD would be, but keeps its bytes; if one of them has no token it becomes U+FFFD. A byte of
  // a valid character without a token: unk or nothing (spec().unk_for_missing), as HF does.
  // add_special: BOS and EOS as the model wants them. Threads may share a Tokenizer.
  std::vector<TokenId> encode(std::string_view text, SpecialTokens specials = SpecialTokens::kText,
                              bool add_special = false) const;
  // The bytes of one token; control tokens are empty unless show_control. kInvalidArgument: bad id.
  std::string token_bytes(TokenId id, bool show_control = false) const;
  std::string decode(const std::vector<TokenId>& ids, bool show_control = false) const;
  std::optional<TokenId> find(std::string_view token) const;  // by its bytes; special ones first
  bool is_end(TokenId id) const;                              // eos, eot or one of end_tokens
  std::int64_t vocab_size() const;
  const TokenizerSpec& spec() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Bytes in, whole UTF-8 characters out: never half a character. Invalid bytes become U+FFFD.
class Utf8Stream {
 public:
  std::string push(std::string_view bytes);  // what is complete by now
  std::string finish();                      // U+FFFD for what never was

 private:
  std::string pending_;
};

}  // namespace raptly
