// Chat templates: the subset of Jinja that model files use, rendered as jinja2 does (trim_blocks
// and lstrip_blocks on, as transformers sets them).
#pragma once

#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace raptly {

struct ChatMessage {
  std::string role;  // "system", "user", "assistant"
  std::string content;
};

struct ChatTemplateVariables {
  std::string bos_token;
  std::string eos_token;
  bool add_generation_prompt = true;
  // The date for templates that ask for it. Without one they have no strftime_now, and most write a
  // fixed date instead.
  std::optional<std::tm> now;
};

class ChatTemplate {
 public:
  // Throws kNotSupported naming the construct and its line, kInvalidArgument for broken syntax.
  explicit ChatTemplate(std::string_view source);
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;

  // Throws kInvalidArgument with the template's own words when it calls raise_exception, and when
  // the limits (1 MiB of output, 1,000,000 steps) are passed.
  std::string render(const std::vector<ChatMessage>& messages,
                     const ChatTemplateVariables& variables) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace raptly
