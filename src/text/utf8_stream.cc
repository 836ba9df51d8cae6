#include "raptly/tokenizer.h"
#include "text/utf8.h"

namespace raptly {

std::string Utf8Stream::push(std::string_view bytes) {
  pending_ += bytes;
  std::string out;
  out.reserve(pending_.size());
  std::string_view rest = pending_;
  while (!rest.empty()) {
    const Utf8Char c = next_utf8(rest);
    if (c.cut) break;
    out += c.valid ? rest.substr(0, c.length) : kReplacementUtf8;
    rest.remove_prefix(c.length);
  }
  pending_.erase(0, pending_.size() - rest.size());
  return out;
}

std::string Utf8Stream::finish() {
  const bool cut = !pending_.empty();
  pending_.clear();
  return std::string(cut ? kReplacementUtf8 : std::string_view());
}

}  // namespace raptly
