#include "raptly/tokenizer.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <unordered_map>

#include "raptly/error.h"
#include "text/bpe.h"
#include "text/byte_alphabet.h"
#include "text/normalize.h"
#include "text/pre_tokenizer.h"
#include "text/special_tokens.h"
#include "text/token_index.h"
#include "text/utf8.h"

namespace raptly {
namespace {

constexpr std::size_t kMaxText = std::size_t{1} << 30;
constexpr std::size_t kMaxTokens = std::size_t{1} << 24;

[[noreturn]] void corrupt(const std::string& message) {
  throw Error(ErrorCode::kCorruptFile, "[text] " + message);
}

bool is_special(TokenKind kind) {
  return kind == TokenKind::kControl || kind == TokenKind::kUserDefined;
}

// Whether BPE makes a token of its own bytes.
constexpr std::uint8_t kUnknown = 0, kYes = 1, kNo = 2;

}  // namespace

struct Tokenizer::Impl {
  explicit Impl(TokenizerSpec given);

  void check_sizes() const;
  void check_id(const char* name, std::optional<TokenId> id) const;
  void index_tokens();
  void build_merges();
  TokenId merge_part(std::string_view token) const;

  struct Scratch {
    PreTokenizer::Scratch split;
    MergeTable::Scratch merge;
    std::vector<TokenId> word;
  };
  void encode_text(std::string_view text, Scratch& scratch, std::vector<TokenId>& ids) const;
  void encode_word(std::string_view word, Scratch& scratch, std::vector<TokenId>& ids) const;
  void to_symbols(std::string_view word, std::vector<TokenId>& symbols) const;
  void to_symbols_lossy(std::string_view word, std::vector<TokenId>& symbols) const;

  TokenizerSpec spec;
  PreTokenizer pre_tokenizer;
  bool nfc = false;
  TokenIndex index;                       // bytes of all tokens; finds the normal ones
  SpecialTokenFinder specials;            // control and user-defined ones
  std::array<TokenId, 256> byte_token{};  // -1: the vocabulary lacks it
  bool lacks_bytes = false;
  MergeTable merges;
  // Found out when a word asks for it: trying all tokens at load would cost 30 ms for 50,000.
  mutable std::vector<std::atomic<std::uint8_t>> whole;
};

Tokenizer::Impl::Impl(TokenizerSpec given)
    : spec(std::move(given)),
      pre_tokenizer(find_pre_tokenizer(spec.pre_tokenizer)),
      nfc(spec.nfc.value_or(find_pre_tokenizer(spec.pre_tokenizer).nfc)),
      whole(spec.tokens.size()) {
  check_sizes();
  index_tokens();
  build_merges();
  spec.merges = {};
}

void Tokenizer::Impl::check_id(const char* name, std::optional<TokenId> id) const {
  if (id && (*id < 0 || static_cast<std::size_t>(*id) >= spec.tokens.size())) {
    corrupt(std::string(name) + " is token " + std::to_string(*id) + " of " +
            std::to_string(spec.tokens.size()) + ".");
  }
}

void Tokenizer::Impl::check_sizes() const {
  if (spec.tokens.empty()) corrupt("a tokenizer has no tokens.");
  if (spec.tokens.size() > kMaxTokens || spec.merges.size() > kMaxTokens) {
    corrupt(std::to_string(spec.tokens.size()) + " tokens and " +
            std::to_string(spec.merges.size()) + " merges. At most 2^24 of each are allowed.");
  }
  if (spec.kinds.size() != spec.tokens.size()) {
    corrupt(std::to_string(spec.tokens.size()) + " tokens, but " +
            std::to_string(spec.kinds.size()) + " token kinds. There must be one a token.");
  }
  check_id("bos", spec.bos);
  check_id("eos", spec.eos);
  check_id("eot", spec.eot);
  check_id("unk", spec.unk);
  check_id("pad", spec.pad);
  for (const TokenId id : spec.end_tokens) check_id("an end token", id);
  if (spec.add_bos && !spec.bos) corrupt("the tokenizer adds a BOS token, but has none.");
  if (spec.add_eos && !spec.eos) corrupt("the tokenizer adds an EOS token, but has none.");
  if (spec.unk_for_missing && !spec.unk)
    corrupt("missing bytes are unk, but there is no unk token.");
}

void Tokenizer::Impl::index_tokens() {
  std::vector<TokenId> normal;
  normal.reserve(spec.tokens.size());
  for (std::size_t i = 0; i < spec.tokens.size(); ++i) {
    const auto id = static_cast<TokenId>(i);
    const std::string& token = spec.tokens[i];
    if (spec.kinds[i] == TokenKind::kNormal) {
      // A character outside the alphabet: an added token that the file does not mark as one. Its
      // text is what it says; no merge leads to it.
      index.push_back(alphabet_to_bytes(token).value_or(token));
      normal.push_back(id);
      continue;
    }
    index.push_back(token);
    if (!is_special(spec.kinds[i])) continue;
    if (token.empty() || token.size() > SpecialTokenFinder::kMaxLength) {
      corrupt("special token " + std::to_string(i) + " has " + std::to_string(token.size()) +
              " bytes. 1 to " + std::to_string(SpecialTokenFinder::kMaxLength) + " are allowed.");
    }
    if (const TokenId earlier = specials.find_exact(token); earlier >= 0) {
      corrupt("tokens " + std::to_string(earlier) + " and " + std::to_string(i) + " are both \"" +
              token + "\".");
    }
    specials.add(token, id, spec.kinds[i] == TokenKind::kControl);
  }
  if (const auto [earlier, later] = index.build(normal); earlier >= 0) {
    corrupt("tokens " + std::to_string(earlier) + " and " + std::to_string(later) + " are both \"" +
            spec.tokens[static_cast<std::size_t>(earlier)] + "\".");
  }
  for (std::size_t byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    byte_token[byte] = index.find({&c, 1});
    lacks_bytes = lacks_bytes || byte_token[byte] < 0;
  }
}

// The token that a merge names: a normal one, or a special one that the vocabulary had before it
// was made special.
TokenId Tokenizer::Impl::merge_part(std::string_view token) const {
  const std::optional<std::string> bytes = alphabet_to_bytes(token);
  const TokenId id = bytes ? index.find(*bytes) : -1;
  return id >= 0 ? id : specials.find_exact(token);
}

void Tokenizer::Impl::build_merges() {
  merges = MergeTable(spec.merges.size());
  for (std::size_t rank = 0; rank < spec.merges.size(); ++rank) {
    const auto& [left, right] = spec.merges[rank];
    const auto part = [&](const std::string& token) {
      const TokenId id = token.empty() ? -1 : merge_part(token);
      if (id < 0) {
        corrupt("merge " + std::to_string(rank) + " (\"" + left + "\" + \"" + right +
                "\") needs \"" + token + "\", which is not a token.");
      }
      return id;
    };
    const TokenId a = part(left);
    const TokenId b = part(right);
    const TokenId merged = part(left + right);
    // Text never becomes a special token by merging: where it may, it was found before.
    if (is_special(spec.kinds[static_cast<std::size_t>(merged)])) continue;
    if (!merges.add(a, b, static_cast<std::uint32_t>(rank), merged)) {
      corrupt("merge " + std::to_string(rank) + " (\"" + left + "\" + \"" + right +
              "\") is listed twice.");
    }
  }
}

void Tokenizer::Impl::to_symbols(std::string_view word, std::vector<TokenId>& symbols) const {
  symbols.clear();
  bool complete = true;
  for (const char c : word) {
    const TokenId id = byte_token[static_cast<unsigned char>(c)];
    complete = complete && id >= 0;
    symbols.push_back(id);
  }
  if (!complete) to_symbols_lossy(word, symbols);
}

void Tokenizer::Impl::to_symbols_lossy(std::string_view word, std::vector<TokenId>& symbols) const {
  symbols.clear();
  const auto token_of = [&](char c) { return byte_token[static_cast<unsigned char>(c)]; };
  while (!word.empty()) {
    const Utf8Char c = next_utf8(word);
    std::string_view bytes = word.substr(0, c.length);
    const auto missing = [&](char b) { return token_of(b) < 0; };
    if (!c.valid && std::any_of(bytes.begin(), bytes.end(), missing)) bytes = kReplacementUtf8;
    for (const char b : bytes) {
      if (token_of(b) >= 0) {
        symbols.push_back(token_of(b));
      } else if (spec.unk_for_missing) {
        symbols.push_back(*spec.unk);
      }
    }
    word.remove_prefix(c.length);
  }
}

void Tokenizer::Impl::encode_word(std::string_view word, Scratch& scratch,
                                  std::vector<TokenId>& ids) const {
  const TokenId id = index.find(word);
  if (id >= 0) {
    std::atomic<std::uint8_t>& known = whole[static_cast<std::size_t>(id)];
    std::uint8_t is_whole = spec.ignore_merges ? kYes : known.load(std::memory_order_relaxed);
    if (is_whole == kUnknown) {
      to_symbols(word, scratch.word);
      merges.merge(scratch.word, scratch.merge);
      is_whole = scratch.word.size() == 1 && scratch.word[0] == id ? kYes : kNo;
      known.store(is_whole, std::memory_order_relaxed);
    }
    if (is_whole == kYes) {
      ids.push_back(id);
      return;
    }
  }
  to_symbols(word, scratch.word);
  merges.merge(scratch.word, scratch.merge);
  ids.insert(ids.end(), scratch.word.begin(), scratch.word.end());
}

void Tokenizer::Impl::encode_text(std::string_view text, Scratch& scratch,
                                  std::vector<TokenId>& ids) const {
  std::string normal;
  if (nfc && !surely_nfc(text)) {
    normal = to_nfc(text);
    text = normal;
  }
  pre_tokenizer.split(text, scratch.split);
  std::size_t begin = 0;
  for (const std::size_t end : scratch.split.ends) {
    encode_word(text.substr(begin, end - begin), scratch, ids);
    begin = end;
  }
}

Tokenizer::Tokenizer(TokenizerSpec spec) : impl_(std::make_unique<Impl>(std::move(spec))) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

std::vector<TokenId> Tokenizer::encode(std::string_view text, SpecialTokens specials,
                                       bool add_special) const {
  if (text.size() > kMaxText) {
    throw Error(ErrorCode::kInvalidArgument, "[text] a text has " + std::to_string(text.size()) +
                                                 " bytes. At most 2^30 are allowed.");
  }
  const TokenizerSpec& spec = impl_->spec;
  std::vector<TokenId> ids;
  ids.reserve(text.size() / 4 + 2);
  if (add_special && spec.add_bos) ids.push_back(*spec.bos);
  Impl::Scratch scratch;
  std::size_t done = 0;
  while (done < text.size()) {
    const auto found = impl_->specials.find(text, done, specials == SpecialTokens::kParse);
    const std::size_t end = found.id < 0 ? text.size() : found.begin;
    if (end > done) impl_->encode_text(text.substr(done, end - done), scratch, ids);
    if (found.id >= 0) ids.push_back(found.id);
    done = found.id < 0 ? text.size() : found.end;
  }
  if (add_special && spec.add_eos) ids.push_back(*spec.eos);
  return ids;
}

std::string Tokenizer::token_bytes(TokenId id, bool show_control) const {
  if (id < 0 || id >= vocab_size()) {
    throw Error(ErrorCode::kInvalidArgument, "[text] token id is " + std::to_string(id) +
                                                 ". 0 to " + std::to_string(vocab_size() - 1) +
                                                 " are allowed.");
  }
  const TokenKind kind = impl_->spec.kinds[static_cast<std::size_t>(id)];
  const bool hidden = kind == TokenKind::kControl || kind == TokenKind::kUnused;
  return hidden && !show_control ? std::string() : std::string(impl_->index.bytes(id));
}

std::string Tokenizer::decode(const std::vector<TokenId>& ids, bool show_control) const {
  std::string text;
  for (const TokenId id : ids) text += token_bytes(id, show_control);
  return text;
}

std::optional<TokenId> Tokenizer::find(std::string_view token) const {
  TokenId id = impl_->specials.find_exact(token);
  if (id < 0) id = impl_->index.find(token);
  return id < 0 ? std::nullopt : std::optional(id);
}

bool Tokenizer::is_end(TokenId id) const {
  const TokenizerSpec& spec = impl_->spec;
  return id == spec.eos || id == spec.eot ||
         std::find(spec.end_tokens.begin(), spec.end_tokens.end(), id) != spec.end_tokens.end();
}

std::int64_t Tokenizer::vocab_size() const {
  return static_cast<std::int64_t>(impl_->spec.tokens.size());
}

const TokenizerSpec& Tokenizer::spec() const { return impl_->spec; }

}  // namespace raptly
