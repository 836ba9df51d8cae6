// Cuts a text into the words that BPE then works on one by one.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/char_classes.h"
#include "text/regex.h"

namespace raptly {

// One known pre-tokenizer. Each step cuts the pieces of the step before at the matches of its
// pattern; matches and what lies between them are pieces (HF: behaviour "Isolated").
struct PreTokenizerInfo {
  std::string_view name;                    // as in GGUF's tokenizer.ggml.pre
  std::span<const std::string_view> steps;  // the published patterns
  bool nfc;                                 // the published tokenizer normalises to NFC first
};

// A new one is a new row of the table behind this.
std::span<const PreTokenizerInfo> pre_tokenizers() noexcept;
// kNotSupported names it and the known ones.
const PreTokenizerInfo& find_pre_tokenizer(std::string_view name);
std::string pre_tokenizer_names();  // "gpt-2, llama-bpe, ..."

inline constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// Immutable after construction; threads may share it.
class PreTokenizer {
 public:
  explicit PreTokenizer(const PreTokenizerInfo& info);

  struct Scratch {
    MatchScratch match;
    ClassString text;
    std::vector<std::size_t> ends;
  };
  // Where the words of `text` (any bytes) end, ascending, in bytes, in scratch.ends; the last end
  // is text.size(). No word is empty.
  void split(std::string_view text, Scratch& scratch) const;

 private:
  void cut(std::string_view classes, std::size_t offset, std::size_t step, Scratch& scratch) const;

  std::vector<Regex> steps_;
};

}  // namespace raptly
