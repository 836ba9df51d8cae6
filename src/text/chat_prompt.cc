#include "text/chat_prompt.h"

#include <algorithm>
#include <string>
#include <string_view>

namespace raptly {
namespace {

// Around a control token in a message's content. Noncharacters: no text has them, and those that
// come in are dropped, so they cannot be forged.
constexpr std::string_view kOpen = "\xEF\xB7\x90";   // U+FDD0
constexpr std::string_view kClose = "\xEF\xB7\x91";  // U+FDD1

std::vector<std::string_view> control_tokens(const TokenizerSpec& spec) {
  std::vector<std::string_view> out;
  for (std::size_t i = 0; i < spec.tokens.size(); ++i) {
    if (spec.kinds[i] == TokenKind::kControl && !spec.tokens[i].empty()) {
      out.push_back(spec.tokens[i]);
    }
  }
  // Longer ones first: a token goes before those it contains.
  std::sort(out.begin(), out.end(), [](std::string_view a, std::string_view b) {
    return a.size() != b.size() ? a.size() > b.size() : a < b;
  });
  return out;
}

std::string mark(std::string_view content, const std::vector<std::string_view>& controls) {
  std::string out;
  for (std::size_t i = 0; i < content.size();) {
    const std::string_view rest = content.substr(i);
    if (rest.starts_with(kOpen) || rest.starts_with(kClose)) {
      i += kOpen.size();
      continue;
    }
    const auto found = std::find_if(controls.begin(), controls.end(), [&](std::string_view token) {
      return rest.starts_with(token);
    });
    if (found == controls.end()) {
      out.push_back(content[i++]);
      continue;
    }
    out += kOpen;
    out += *found;
    out += kClose;
    i += found->size();
  }
  return out;
}

// Where the next marker stands; npos: nowhere.
std::size_t next_marker(std::string_view text) {
  return std::min(text.find(kOpen), text.find(kClose));
}

void append(std::vector<TokenId>& ids, const Tokenizer& tokenizer, std::string_view text,
            SpecialTokens specials) {
  if (text.empty()) return;
  const std::vector<TokenId> more = tokenizer.encode(text, specials);
  ids.insert(ids.end(), more.begin(), more.end());
}

// The control token at the start (or end) of a text; empty: none.
std::string_view control_at(std::string_view text, const std::vector<std::string_view>& controls,
                            bool start) {
  for (const std::string_view token : controls) {
    if (start ? text.starts_with(token) : text.ends_with(token)) return token;
  }
  return {};
}

// A template may have cut a text at its markers: a token beside either of its two is only text.
std::vector<TokenId> encode_marked(const Tokenizer& tokenizer, std::string_view text,
                                   const std::vector<std::string_view>& controls) {
  std::vector<TokenId> ids;
  while (!text.empty()) {
    const std::size_t at = next_marker(text);
    std::string_view before = text.substr(0, at);
    const bool opens = at != std::string_view::npos && text.substr(at).starts_with(kOpen);
    const bool closes = at != std::string_view::npos && !opens;
    const std::string_view closed = closes ? control_at(before, controls, false) : "";
    before.remove_suffix(closed.size());
    append(ids, tokenizer, before, SpecialTokens::kParse);
    append(ids, tokenizer, closed, SpecialTokens::kText);
    if (at == std::string_view::npos) break;
    text.remove_prefix(at + kOpen.size());
    const std::string_view opened = opens ? control_at(text, controls, true) : "";
    append(ids, tokenizer, opened, SpecialTokens::kText);
    text.remove_prefix(opened.size());
  }
  return ids;
}

std::string token_text(const Tokenizer& tokenizer, const std::optional<TokenId>& id) {
  return id ? tokenizer.token_bytes(*id, true) : "";
}

}  // namespace

std::vector<TokenId> encode_chat(const ChatTemplate& chat, const Tokenizer& tokenizer,
                                 const std::vector<ChatMessage>& messages,
                                 ChatTemplateVariables variables) {
  variables.bos_token = token_text(tokenizer, tokenizer.spec().bos);
  variables.eos_token = token_text(tokenizer, tokenizer.spec().eos);
  const std::vector<std::string_view> controls = control_tokens(tokenizer.spec());
  std::vector<ChatMessage> marked;
  for (const ChatMessage& m : messages) marked.push_back({m.role, mark(m.content, controls)});
  return encode_marked(tokenizer, chat.render(marked, variables), controls);
}

}  // namespace raptly
