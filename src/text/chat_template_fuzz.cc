// A template from a file is untrusted: whatever the bytes, it renders or throws an Error.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "raptly/chat_template.h"
#include "raptly/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view source(reinterpret_cast<const char*>(data), size);
  try {
    const raptly::ChatTemplate chat(source);
    const std::vector<raptly::ChatMessage> messages = {{"system", "Be \xC3\xA9\xFF."},
                                                       {"user", " Hi 'there'\n"},
                                                       {"assistant", "<think>\n</think>a,b"}};
    chat.render(messages, {"<s>", "</s>", true, std::tm{}});
  } catch (const raptly::Error&) {
  }
  return 0;
}
