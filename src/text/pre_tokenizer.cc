#include "text/pre_tokenizer.h"

#include <array>

#include "raptly/error.h"

namespace raptly {
namespace {

using Steps = std::string_view;

constexpr Steps kGpt2[] = {kGpt2Pattern};
constexpr Steps kSmolLm[] = {kDigitPattern, kGpt2Pattern};
constexpr Steps kLlama3[] = {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3})"
                             R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr Steps kQwen2[] = {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})"
                            R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};

constexpr PreTokenizerInfo kTable[] = {
    {"gpt-2", kGpt2, false},
    {"llama-bpe", kLlama3, false},
    {"qwen2", kQwen2, true},
    {"smollm", kSmolLm, false},
};

}  // namespace

std::span<const PreTokenizerInfo> pre_tokenizers() noexcept { return kTable; }

std::string pre_tokenizer_names() {
  std::string names;
  for (const PreTokenizerInfo& info : kTable) {
    if (!names.empty()) names += ", ";
    names += info.name;
  }
  return names;
}

const PreTokenizerInfo& find_pre_tokenizer(std::string_view name) {
  for (const PreTokenizerInfo& info : kTable) {
    if (info.name == name) return info;
  }
  throw Error(ErrorCode::kNotSupported, "[text] pre-tokenizer is \"" + std::string(name) +
                                            "\". Known are " + pre_tokenizer_names() + ".");
}

PreTokenizer::PreTokenizer(const PreTokenizerInfo& info) {
  for (const std::string_view step : info.steps) steps_.emplace_back(pattern_over_classes(step));
}

void PreTokenizer::split(std::string_view text, Scratch& scratch) const {
  scratch.ends.clear();
  if (ascii_prefix(text) == text.size()) {
    cut(text, 0, 0, scratch);
    return;
  }
  to_class_string(text, scratch.text);
  cut(scratch.text.classes, 0, 0, scratch);
  std::size_t character = 0;
  std::size_t byte = 0;
  for (std::size_t& end : scratch.ends) {
    for (; character < end; ++character) byte += scratch.text.lengths[character];
    end = byte;
  }
}

// Appends the ends, counted from `offset` on, of the words of one piece of step - 1. The piece is
// all that the pattern sees: a look-ahead meets its end.
void PreTokenizer::cut(std::string_view classes, std::size_t offset, std::size_t step,
                       Scratch& scratch) const {
  const auto piece = [&](std::size_t begin, std::size_t end) {
    if (begin == end) return;
    if (step + 1 == steps_.size()) {
      scratch.ends.push_back(offset + end);
    } else {
      cut(classes.substr(begin, end - begin), offset + begin, step + 1, scratch);
    }
  };
  std::size_t done = 0;
  Match match;
  for (std::size_t from = 0;
       from < classes.size() && steps_[step].find(classes, from, scratch.match, match);) {
    if (match.begin ==
        match.end) {  // no known pattern matches nothing; never loop on one that does
      from = match.end + 1;
      continue;
    }
    piece(done, match.begin);
    piece(match.begin, match.end);
    done = from = match.end;
  }
  piece(done, classes.size());
}

}  // namespace raptly
