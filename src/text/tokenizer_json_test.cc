#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "raptly/error.h"
#include "raptly/tokenizer.h"
#include "text/json.h"

namespace raptly {
namespace {

using nlohmann::json;

json byte_level(bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", true},
          {"use_regex", use_regex}};
}

json split(const char* regex) {
  return {{"type", "Split"},
          {"pattern", {{"Regex", regex}}},
          {"behavior", "Isolated"},
          {"invert", false}};
}

json sequence(json steps) { return {{"type", "Sequence"}, {"pretokenizers", std::move(steps)}}; }

json added(int id, const char* content, bool special) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", special}};
}

// A small one, with all fields as HF tokenizers writes them.
json good() {
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", {added(4, "<|im_end|>", true), added(5, "<tool>", false)}},
          {"normalizer", nullptr},
          {"pre_tokenizer", byte_level(true)},
          {"post_processor", nullptr},
          {"decoder", byte_level(true)},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", nullptr},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"ignore_merges", false},
            {"vocab", {{"a", 0}, {"b", 1}, {"ab", 2}, {"abb", 3}}},
            {"merges", json::parse(R"([["a", "b"], ["ab", "b"]])")}}}};
}

TokenizerSpec read(const json& file, const json& config = nullptr) {
  return tokenizer_spec_from_json(file.dump(), config.is_null() ? "" : config.dump());
}

void expect_error(const std::function<void()>& function, ErrorCode code, const std::string& part) {
  try {
    function();
    ADD_FAILURE() << "no error: " << part;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

// Changes one member of good() and expects the error.
void refused(const char* pointer, const json& value, ErrorCode code, const std::string& part) {
  json file = good();
  file[json::json_pointer(pointer)] = value;
  expect_error([&] { read(file); }, code, part);
}

constexpr ErrorCode kCorrupt = ErrorCode::kCorruptFile;
constexpr ErrorCode kNotSupported = ErrorCode::kNotSupported;

TEST(TokenizerJson, ReadsAllOfIt) {
  const TokenizerSpec spec = read(good());
  EXPECT_EQ(spec.tokens, (std::vector<std::string>{"a", "b", "ab", "abb", "<|im_end|>", "<tool>"}));
  EXPECT_EQ(spec.kinds[3], TokenKind::kNormal);
  EXPECT_EQ(spec.kinds[4], TokenKind::kControl);
  EXPECT_EQ(spec.kinds[5], TokenKind::kUserDefined);
  EXPECT_EQ(spec.merges[1], (std::pair<std::string, std::string>("ab", "b")));
  EXPECT_EQ(spec.pre_tokenizer, "gpt-2");
  EXPECT_EQ(spec.nfc, false);
  EXPECT_EQ(spec.eot, 4);  // by its text
  EXPECT_FALSE(spec.add_bos || spec.ignore_merges || spec.unk_for_missing);
  EXPECT_EQ(Tokenizer(spec).encode("abb<tool>"), (std::vector<TokenId>{3, 5}));
}

TEST(TokenizerJson, MergesAsStrings) {
  json file = good();
  file["model"]["merges"] = {"a b", "ab b"};
  EXPECT_EQ(read(file).merges, read(good()).merges);
}

TEST(TokenizerJson, RecognisesThePublishedPreTokenizers) {
  const auto name_of = [](json pre_tokenizer) {
    json file = good();
    file["pre_tokenizer"] = std::move(pre_tokenizer);
    return read(file).pre_tokenizer;
  };
  const json digits = {{"type", "Digits"}, {"individual_digits", true}};
  EXPECT_EQ(name_of(byte_level(true)), "gpt-2");
  EXPECT_EQ(name_of(sequence({digits, byte_level(true)})), "smollm");
  EXPECT_EQ(name_of(sequence({split("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
                                    "\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"
                                    "\\s+(?!\\S)|\\s+"),
                              byte_level(false)})),
            "llama-bpe");
  EXPECT_EQ(name_of(sequence({split("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
                                    "\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"
                                    "\\s+(?!\\S)|\\s+"),
                              byte_level(false)})),
            "qwen2");
}

TEST(TokenizerJson, RefusesPreTokenizersItDoesNotKnow) {
  const auto unknown = [](const json& value, const std::string& part) {
    refused("/pre_tokenizer", value, kNotSupported, part);
  };
  json prefix = byte_level(true);
  prefix["add_prefix_space"] = true;
  json removed = split("x");
  removed["behavior"] = "Removed";
  const json digits = {{"type", "Digits"}, {"individual_digits", false}};
  unknown(nullptr, "pre-tokenizer is null. It must end in ByteLevel");
  unknown(prefix, "has the step {\"add_prefix_space\":true");
  unknown(removed, "\"behavior\":\"Removed\"");
  unknown(digits, "\"Digits\"");
  unknown({{"type", "Metaspace"}}, "has the step {\"type\":\"Metaspace\"}. Known are");
  unknown(sequence({split("\\p{L}+"), byte_level(false)}),
          "Known are those of gpt-2, llama-bpe, qwen2, smollm.");
  unknown(byte_level(false), "Known are those of");
  unknown(sequence({byte_level(true), split("x")}), "a step after ByteLevel");
  refused("/pre_tokenizer", "ByteLevel", kCorrupt, "the \"type\" of a step is null");
  refused("/pre_tokenizer", {{"type", "Sequence"}}, kCorrupt, "no list \"pretokenizers\"");
}

TEST(TokenizerJson, Normalizer) {
  json file = good();
  file["normalizer"] = {{"type", "NFC"}};
  EXPECT_EQ(read(file).nfc, true);
  file["normalizer"] = {{"type", "Sequence"}, {"normalizers", {{{"type", "NFC"}}}}};
  EXPECT_EQ(read(file).nfc, true);
  refused("/normalizer", {{"type", "Lowercase"}}, kNotSupported,
          "normalizer is {\"type\":\"Lowercase\"}. Known is NFC.");
}

TEST(TokenizerJson, RefusesModelsThatItWouldGetWrong) {
  refused("/model/type", "Unigram", kNotSupported, "model is \"Unigram\". Known is BPE.");
  refused("/model/dropout", 0.1, kNotSupported, "model has \"dropout\": 0.1.");
  refused("/model/byte_fallback", true, kNotSupported, "\"byte_fallback\": true");
  refused("/model/fuse_unk", true, kNotSupported, "\"fuse_unk\": true");
  refused("/model/end_of_word_suffix", "</w>", kNotSupported, "\"end_of_word_suffix\": \"</w>\"");
  refused("/decoder", {{"type", "Metaspace"}}, kNotSupported,
          "decoder is {\"type\":\"Metaspace\"}");
  refused("/post_processor", {{"type", "BertProcessing"}}, kNotSupported, "\"BertProcessing\"");
  refused("/added_tokens/0/lstrip", true, kNotSupported,
          "the added token \"<|im_end|>\" has \"lstrip\": true.");
}

TEST(TokenizerJson, RefusesBrokenTables) {
  refused("/model", nullptr, kCorrupt, "has no object \"model\"");
  refused("/model/vocab", json::array(), kCorrupt, "no object \"vocab\"");
  refused("/model/vocab/a", 1, kCorrupt, "both have the id 1");
  refused("/model/vocab/a", -1, kCorrupt, "the id of \"a\" is -1. 0 to 2^24 - 1 are allowed.");
  refused("/model/vocab/a", 1e9, kCorrupt, "the id of \"a\" is");
  refused("/model/vocab/a", 1 << 23, kCorrupt, "far beyond the 4 tokens");
  refused("/model/merges", nullptr, kCorrupt, "no list \"merges\"");
  refused("/model/merges/1", "abb", kCorrupt, "merge 1 is \"abb\"");
  refused("/model/merges/1", "a b b", kCorrupt, "merge 1 is \"a b b\"");
  refused("/model/merges/1", json::array({"a", 2}), kCorrupt, "merge 1 is number, not a string");
  refused("/model/ignore_merges", 1, kCorrupt, "\"ignore_merges\" is number, not true or false");
  refused("/added_tokens", 3, kCorrupt, "\"added_tokens\" is not a list");
  refused("/added_tokens/0/content", nullptr, kCorrupt, "the content of an added token is null");
  refused("/added_tokens/0/id", nullptr, kCorrupt, "the id of \"<|im_end|>\" is null");
  refused("/added_tokens/0/content", "ab", kCorrupt,
          "\"ab\" has the id 2 in the vocabulary and 4 as an added token");
}

TEST(TokenizerJson, GapsAreUnusedIds) {
  json file = good();
  file["added_tokens"][1]["id"] = 9;
  const TokenizerSpec spec = read(file);
  ASSERT_EQ(spec.tokens.size(), 10u);
  EXPECT_EQ(spec.kinds[7], TokenKind::kUnused);
}

TEST(TokenizerJson, UnkToken) {
  json file = good();
  file["model"]["unk_token"] = "<|im_end|>";
  const TokenizerSpec spec = read(file);
  EXPECT_TRUE(spec.unk_for_missing);
  EXPECT_EQ(Tokenizer(spec).encode("ax"), (std::vector<TokenId>{0, 4}));
  refused("/model/unk_token", "<unk>", kCorrupt, "unk_token \"<unk>\" is not a token");
}

TEST(TokenizerJson, ConfigTokensAndTemplate) {
  const json object = {{"content", "<|im_end|>"}, {"lstrip", false}};
  TokenizerSpec spec = read(good(), {{"bos_token", "<tool>"},
                                     {"eos_token", object},
                                     {"pad_token", nullptr},
                                     {"add_bos_token", true},
                                     {"chat_template", "{{ 1 }}"}});
  EXPECT_EQ(spec.bos, 5);
  EXPECT_EQ(spec.eos, 4);
  EXPECT_EQ(spec.pad, std::nullopt);
  EXPECT_TRUE(spec.add_bos);
  EXPECT_FALSE(spec.add_eos);
  EXPECT_EQ(spec.chat_template, "{{ 1 }}");
  const json templates = {{{"name", "tool_use"}, {"template", "T"}},
                          {{"name", "default"}, {"template", "D"}}};
  EXPECT_EQ(read(good(), {{"chat_template", templates}}).chat_template, "D");
  EXPECT_EQ(read(good(), json::object()).chat_template, "");
  expect_error([] { read(good(), {{"eos_token", "<eos>"}}); }, kCorrupt,
               "\"eos_token\" is \"<eos>\", which is not a token");
  expect_error([] { read(good(), {{"chat_template", 1}}); }, kCorrupt,
               "\"chat_template\" is number");
  expect_error([] { read(good(), json::array()); }, kCorrupt,
               "tokenizer_config.json is not an object");
}

TEST(TokenizerJson, BosFromThePostProcessor) {
  const auto token = [](const char* name) {
    return json{{"SpecialToken", {{"id", name}, {"type_id", 0}}}};
  };
  const json text = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  const auto post = [&](json single) {
    json file = good();
    file["post_processor"] = {
        {"type", "Sequence"},
        {"processors",
         {byte_level(true), {{"type", "TemplateProcessing"}, {"single", std::move(single)}}}}};
    return file;
  };
  const TokenizerSpec spec = read(post({token("<tool>"), text}));
  EXPECT_TRUE(spec.add_bos);
  EXPECT_EQ(spec.bos, 5);
  EXPECT_FALSE(spec.add_eos);
  EXPECT_TRUE(read(post({text, token("<|im_end|>")})).add_eos);
  EXPECT_FALSE(read(post({token("<tool>"), text}), {{"add_bos_token", false}}).add_bos);
  expect_error([&] { read(post({token("<tool>"), token("<|im_end|>"), text})); }, kNotSupported,
               "Known are BOS before the text.");
  expect_error([&] { read(post({token("no"), text})); }, kNotSupported, "\"no\"");
}

TEST(TokenizerJson, WhatIsNoJsonSaysWhere) {
  expect_error([] { tokenizer_spec_from_json("", ""); }, kCorrupt,
               "tokenizer.json is not JSON at byte");
  expect_error([] { tokenizer_spec_from_json("{\"a\": 1,}", ""); }, kCorrupt, "not JSON at byte 9");
  expect_error([] { tokenizer_spec_from_json("[]", ""); }, kCorrupt, "has no object \"model\"");
  expect_error([] { tokenizer_spec_from_json("{\"a\": \"\xFF\"}", ""); }, kCorrupt,
               "not JSON at byte");
  expect_error([] { tokenizer_spec_from_json(good().dump(), "{"); }, kCorrupt,
               "tokenizer_config.json is not JSON");
}

TEST(Json, BoundsDepthAndRefusesDoubleKeys) {
  EXPECT_EQ(parse_json(std::string(64, '[') + std::string(64, ']'), "x").size(), 1u);
  expect_error([] { parse_json(std::string(1'000'000, '['), "x"); }, kCorrupt,
               "x is nested deeper than 64 levels.");
  expect_error([] { parse_json("{\"k\":1,\"k\":2}", "x"); }, kCorrupt,
               "x has the key \"k\" twice in one object.");
  EXPECT_EQ(parse_json(R"({"a":[1,-2,3.5,"s",null,true,{"b":{}}],"c":[]})", "x"),
            json::parse(R"({"a":[1,-2,3.5,"s",null,true,{"b":{}}],"c":[]})"));
}

}  // namespace
}  // namespace raptly
