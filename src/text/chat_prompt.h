// A conversation as the token ids that a model is prompted with.
#pragma once

#include <vector>

#include "raptly/chat_template.h"
#include "raptly/tokenizer.h"

namespace raptly {

// Renders the template with the tokenizer's BOS and EOS and encodes the result: control tokens that
// the template writes are those tokens, while the same characters inside a message's content
// ("<|im_end|>" typed by a user) are only text. As transformers does, a text is cut at such places.
// `variables` gives everything but bos_token and eos_token. Throws as ChatTemplate::render does.
std::vector<TokenId> encode_chat(const ChatTemplate& chat, const Tokenizer& tokenizer,
                                 const std::vector<ChatMessage>& messages,
                                 ChatTemplateVariables variables);

}  // namespace raptly
