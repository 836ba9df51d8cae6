#include "raptly/chat_template.h"

#include "raptly/error.h"
#include "text/jinja_ast.h"
#include "text/jinja_render.h"

namespace raptly {
namespace {

using jinja::Value;

Value message_list(const std::vector<ChatMessage>& messages) {
  std::vector<Value> list;
  for (const ChatMessage& message : messages) {
    list.push_back(jinja::make_dict({{Value::text("role"), Value::text(message.role)},
                                     {Value::text("content"), Value::text(message.content)}}));
  }
  return jinja::make_sequence(std::move(list));
}

}  // namespace

struct ChatTemplate::Impl {
  jinja::Body body;
};

ChatTemplate::ChatTemplate(std::string_view source) : impl_(std::make_unique<Impl>()) {
  impl_->body = jinja::parse(source);
}

ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;

std::string ChatTemplate::render(const std::vector<ChatMessage>& messages,
                                 const ChatTemplateVariables& variables) const {
  jinja::Renderer renderer(variables.now);
  renderer.define("messages", message_list(messages));
  renderer.define("bos_token", Value::text(variables.bos_token));
  renderer.define("eos_token", Value::text(variables.eos_token));
  renderer.define("add_generation_prompt", Value::boolean(variables.add_generation_prompt));
  renderer.define("tools", Value::none());  // transformers defines both, tools or not
  renderer.define("documents", Value::none());
  return renderer.run(impl_->body);
}

}  // namespace raptly
