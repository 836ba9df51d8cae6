#include "raptly/chat_template.h"

#include <gtest/gtest.h>

#include "raptly/error.h"

namespace raptly {
namespace {

std::string render(std::string_view source, const std::vector<ChatMessage>& messages = {},
                   const ChatTemplateVariables& variables = {"<s>", "</s>", true, {}}) {
  return ChatTemplate(source).render(messages, variables);
}

struct Failure {
  ErrorCode code;
  std::string message;
};

Failure failure(const std::string& source, const std::vector<ChatMessage>& messages = {}) {
  try {
    const std::string text = render(source, messages);
    ADD_FAILURE() << "rendered: " << text;
  } catch (const Error& e) {
    return {e.code(), e.what()};
  }
  return {ErrorCode::kInvalidArgument, ""};
}

std::string repeat(std::string_view text, int n) {
  std::string out;
  for (int i = 0; i < n; ++i) out += text;
  return out;
}

// Construction refuses what it does not know, whether the template would come to it or not.
void expect_unsupported(const std::string& source, const std::string& message) {
  try {
    ChatTemplate{source};
    ADD_FAILURE() << "accepted: " << source;
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kNotSupported) << source;
    EXPECT_EQ(std::string(e.what()), message);
  }
}

TEST(ChatTemplate, TextBlocksAndComments) {
  EXPECT_EQ(render(""), "");
  EXPECT_EQ(render("plain { text } %\n"), "plain { text } %");  // one newline at the end goes
  EXPECT_EQ(render("a\n{% if true %}\nb\n{% endif %}\nc"), "a\nb\nc");
  EXPECT_EQ(render("a\r\n  {# note #}  b"), "a\n  b");
  EXPECT_EQ(render("a {%+ if true %} b{% endif %}"), "a  b");
  EXPECT_EQ(render("a  {{- 'b' -}}  c"), "abc");
  EXPECT_EQ(render("{% raw %}{{ x }}{% endraw %}"), "{{ x }}");
}

TEST(ChatTemplate, StringsAreTextsOfCharacters) {
  EXPECT_EQ(render("{{ 'h\u00e9llo'[1] }}{{ 'h\u00e9llo' | length }}"),
            "\u00e9"
            "5");
  EXPECT_EQ(render("{{ 'stra\u00dfe' | upper }}"), "STRASSE");
  EXPECT_EQ(render("{{ '\u03a3\u03a3' | lower }}"), "\u03c3\u03c2");
  EXPECT_EQ(render("{{ '\u00a0x\u3000' | trim }}"), "x");
  EXPECT_EQ(render("{{ ['\u00e9', '\u200b'] }}"), "['\u00e9', '\\u200b']");
  EXPECT_EQ(render("{{ 'a\xffz'[::-1] }}"),
            "z\xff"
            "a");  // an invalid byte is a character
}

TEST(ChatTemplate, NumbersAreWrittenAsPythonDoes) {
  EXPECT_EQ(render("{{ [1e16, 1e15, 0.0001, 0.00001, 1.5, -0.0, 7 // -2, -7 % 3, 1 / 4] }}"),
            "[1e+16, 1000000000000000.0, 0.0001, 1e-05, 1.5, -0.0, -4, 2, 0.25]");
}

TEST(ChatTemplate, TheDateIsTheCallers) {
  const std::string source =
      "{% if strftime_now is defined %}{{ strftime_now('%d %b %Y %-d') }}{% else %}none{% endif %}";
  std::tm date{};
  date.tm_year = 126;
  date.tm_mon = 10;
  date.tm_mday = 4;
  EXPECT_EQ(render(source, {}, {"", "", true, date}), "04 Nov 2026 4");
  EXPECT_EQ(render(source), "none");
  EXPECT_EQ(
      failure("{{ strftime_now('%Y') }}").message,
      "[chat_template] line 1: The template asks for today's date (strftime_now), and none was "
      "given.");
}

TEST(ChatTemplate, RaiseExceptionKeepsTheTemplatesWords) {
  const Failure f = failure("\n{{ raise_exception('Roles must alternate') }}");
  EXPECT_EQ(f.code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(f.message, "[chat_template] line 2: Roles must alternate");
}

TEST(ChatTemplate, WhatIsOutsideTheSubsetIsNamed) {
  const std::string at = "[chat_template] line 1: not supported: ";
  expect_unsupported("{% if false %}{{ x | dictsort }}{% endif %}", at + "the filter 'dictsort'.");
  expect_unsupported("{{ x is escaped }}", at + "the test 'is escaped'.");
  expect_unsupported("{{ x.format(1) }}", at + "the method 'format'.");
  expect_unsupported("{{ lipsum() }}", at + "the function 'lipsum'.");
  expect_unsupported("{{ x.__class__ }}",
                     at + "the attribute '__class__': names with a leading underscore.");
  expect_unsupported("{{ 2 ** 3 }}", at + "the operator **.");
  expect_unsupported("{{ f[1, 2] }}", at + "a subscript with a comma.");
  expect_unsupported("{{ range(*x) }}", at + "arguments with a star.");
  expect_unsupported("{% for x in y recursive %}{% endfor %}", at + "a recursive loop.");
  expect_unsupported("{% for x in y %}{% set l = loop %}{% endfor %}",
                     at + "'loop' as a value. Use loop.index, loop.first and so on.");
  expect_unsupported("{{ (x | safe) + 'y' }}",
                     at + "the filter 'safe' elsewhere than at the end of an output.");
  expect_unsupported("{{ x | selectattr('a', 'filter') }}",
                     at + "the test 'filter' in selectattr.");
  expect_unsupported("{{ 99999999999999999999 }}",
                     at + "an integer beyond 64 bits: 99999999999999999999.");
  for (const std::string name : {"include", "import", "extends", "block", "call", "with", "do"}) {
    expect_unsupported("{% " + name + " x %}", at + "the statement {% " + name + " %}.");
  }
  expect_unsupported("a\nb\n{{ x | tojson | striptags }}",
                     "[chat_template] line 3: not supported: the filter 'striptags'.");
}

TEST(ChatTemplate, BrokenSyntaxNamesItsLine) {
  const std::string at = "[chat_template] line 2: ";
  EXPECT_EQ(failure("\n{{ x").message, at + "A \"{{\" is never closed.");
  EXPECT_EQ(failure("\n{% if x %}y").message, at + "A block has no {% endif %}.");
  EXPECT_EQ(failure("\n{% endif %}").message,
            at + "{% endif %} is no statement, or stands in the wrong place.");
  EXPECT_EQ(failure("\n{# x").message, at + "Missing end of comment tag.");
  EXPECT_EQ(failure("\n{{ 'x }}").message, at + "A string is never closed.");
  EXPECT_EQ(failure("\n{{ (1] }}").message, at + "Unexpected ']', expected ')'.");
  EXPECT_EQ(failure("\n{{ 1 + }}").message, at + "Expected an expression, got '}}'.");
  EXPECT_EQ(failure("\n{{ a b }}").message, at + "Expected '}}', got 'b'.");
  EXPECT_EQ(failure("\n{% break %}").message, at + "{% break %} outside a loop.");
  EXPECT_EQ(failure("\n{{ ? }}").message, at + "Unexpected character '?'.");
}

TEST(ChatTemplate, MistakesAtRunTimeNameTheirLine) {
  EXPECT_EQ(failure("\n{{ nothing.x }}").message,
            "[chat_template] line 2: 'nothing' is undefined.");
  EXPECT_EQ(failure("{{ 'a' + 1 }}").message,
            "[chat_template] line 1: A str and a int cannot be added.");
  EXPECT_EQ(failure("{{ messages[0].name + 'x' }}", {{"user", "hi"}}).message,
            "[chat_template] line 1: dict has no item or attribute 'name'.");
  EXPECT_EQ(failure("{{ 1 // 0 }}").message, "[chat_template] line 1: Division by zero.");
  EXPECT_EQ(failure("{% set x = [] %}{% set x.y = 1 %}").message,
            "[chat_template] line 1: 'x' is not a namespace; only one can be changed.");
}

TEST(ChatTemplate, OutputIsLimited) {
  const Failure f = failure("{% for i in range(2000) %}{{ 'x' * 1000 }}{% endfor %}");
  EXPECT_EQ(f.code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(f.message, "[chat_template] line 1: The output passes 1048576 bytes.");
  EXPECT_EQ(failure("{{ 'x' * 2000000 }}").message,
            "[chat_template] line 1: A text passes 1048576 bytes.");
}

TEST(ChatTemplate, StepsAreLimited) {
  const std::string loops =
      "{% for i in range(2000) %}{% for j in range(2000) %}{% endfor %}{% endfor %}";
  EXPECT_EQ(failure(loops).message,
            "[chat_template] line 1: The template takes more than 1000000 steps.");
  // Two trees of 2^40 leaves each, in a few lines.
  const std::string trees =
      "{% set n = namespace(a=[1], b=[1]) %}{% for i in range(40) %}"
      "{% set n.a = [n.a, n.a] %}{% set n.b = [n.b, n.b] %}{% endfor %}";
  EXPECT_EQ(failure(trees + "{{ n.a == n.b }}").message,
            "[chat_template] line 1: The template takes more than 1000000 steps.");
  EXPECT_EQ(failure(trees + "{{ n.a }}").message,
            "[chat_template] line 1: The output passes 1048576 bytes.");
}

TEST(ChatTemplate, NestingIsLimited) {
  const std::string at = "[chat_template] line 1: not supported: ";
  expect_unsupported("{{ " + repeat("(", 5000) + "1" + repeat(")", 5000) + " }}",
                     at + "expressions nested deeper than 128.");
  expect_unsupported("{{ " + repeat("not ", 5000) + "1 }}",
                     at + "expressions nested deeper than 128.");
  expect_unsupported("{{ 1" + repeat(" + 1", 5000) + " }}",
                     at + "expressions nested deeper than 128.");
  expect_unsupported(repeat("{% if 1 %}", 5000), at + "blocks nested deeper than 128.");
  EXPECT_EQ(failure("{% set n = namespace(a=1) %}{% for i in range(100) %}{% set n.a = [n.a] %}"
                    "{% endfor %}")
                .message,
            "[chat_template] line 1: Values are nested deeper than 64.");
  EXPECT_EQ(
      failure("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}").message,
      "[chat_template] line 1: Expressions, blocks and macro calls are nested deeper than 600.");
}

}  // namespace
}  // namespace raptly
