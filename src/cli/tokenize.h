// `raptly tokenize`: text to a JSON list of ids, and back.
#pragma once

#include <istream>
#include <ostream>
#include <string>

#include "raptly/tokenizer.h"

namespace raptly {

struct TokenizeOptions {
  std::string text;      // what to tokenize, or the list of ids; "-": all bytes of `in`
  bool decode = false;   // ids to text
  bool special = false;  // BOS and EOS as the model wants them, "<|im_end|>" in a text is that
                         // token; with decode: control tokens are shown
  bool json = false;     // with decode: a JSON string, broken UTF-8 in it as U+FFFD
};

// Writes "[1, 2, 3]" and a newline, or with decode the very bytes and nothing else. Returns the
// exit code, 0. Throws kInvalidArgument (what is not a JSON list of ids of this vocabulary), kIo
// (`in` or `out` failed).
int tokenize_command(const Tokenizer& tokenizer, const TokenizeOptions& options, std::istream& in,
                     std::ostream& out);

}  // namespace raptly
