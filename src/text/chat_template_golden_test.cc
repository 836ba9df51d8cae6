// Against jinja2: src/text/testdata/chat_goldens.json is made by tools/make_chat_goldens.py.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "raptly/chat_template.h"
#include "raptly/error.h"

namespace raptly {
namespace {

using nlohmann::json;

struct Rendered {
  bool fails = false;
  std::string text;  // or the message
};

Rendered render(const std::string& source, const std::vector<ChatMessage>& messages,
                const ChatTemplateVariables& variables) {
  try {
    return {false, ChatTemplate(source).render(messages, variables)};
  } catch (const Error& e) {
    return {true, e.what()};
  }
}

std::tm date_of(const json& now) {
  std::tm date{};
  date.tm_year = now[0].get<int>() - 1900;
  date.tm_mon = now[1].get<int>() - 1;
  date.tm_mday = now[2].get<int>();
  return date;
}

TEST(ChatTemplateGolden, RendersAsJinja2) {
  std::ifstream file(RAPTLY_SOURCE_DIR "/src/text/testdata/chat_goldens.json");
  const json goldens = json::parse(file);
  std::vector<std::vector<ChatMessage>> chats;
  for (const json& chat : goldens["chats"]) {
    auto& messages = chats.emplace_back();
    for (const json& m : chat) messages.push_back({m[0], m[1]});
  }
  int outputs = 0;
  int failures = 0;
  for (const json& c : goldens["cases"]) {
    const std::string source = goldens["templates"][c["template"].get<std::size_t>()];
    const auto& chat = chats[c["chat"].get<std::size_t>()];
    const Rendered got =
        render(source, chat, {"<s>", "</s>", c["generation"], date_of(goldens["now"])});
    const bool fails = c.contains("fails");
    (fails ? failures : outputs)++;
    ASSERT_EQ(got.fails, fails) << got.text << "\n" << source;
    if (!fails) {
      ASSERT_EQ(got.text, c["output"].get<std::string>()) << source;
    }
  }
  EXPECT_GE(outputs, 400);
  EXPECT_GE(failures, 50);
}

}  // namespace
}  // namespace raptly
