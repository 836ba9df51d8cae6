#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <limits>
#include <string>

#include "mask/random_mask.h"
#include "raptly/error.h"
#include "raptly/mask.h"

namespace raptly {
namespace {

TEST(MaskText, PrintsTheCanonicalForm) {
  EXPECT_EQ(Mask().to_string(), "all");
  EXPECT_EQ((mask::causal() & mask::window(256, 0)).to_string(), "causal & window(256, 0)");
  EXPECT_EQ(mask::causal(mask::Corner::kTopLeft).to_string(), "causal(corner=\"top_left\")");
  EXPECT_EQ(mask::window(std::nullopt, 3).to_string(), "window(None, 3)");
  EXPECT_EQ(mask::mistral(4096).to_string(), "window(4095, 0)");
  EXPECT_EQ(mask::lengths({3, 4}, {7, 8}).to_string(), "lengths([3, 4], [7, 8])");
  EXPECT_EQ((Mask() & mask::causal()).to_string(), "causal");
  const Mask a = mask::causal(), b = mask::prefix(2), c = mask::chunked(3);
  EXPECT_EQ((a & b & c).to_string(), "causal & prefix(2) & chunked(3)");
  EXPECT_EQ((a | (b & c)).to_string(), "causal | prefix(2) & chunked(3)");
  EXPECT_EQ(((a | b) & c).to_string(), "(causal | prefix(2)) & chunked(3)");
  EXPECT_EQ((~a & ~(b | c)).to_string(), "~causal & ~(prefix(2) | chunked(3))");
  EXPECT_EQ((~~a).to_string(), "causal");
  EXPECT_EQ((~Mask()).to_string(), "none");
  EXPECT_EQ((~mask::none()).to_string(), "all");
  EXPECT_EQ((a | Mask()).to_string(), "all");
  EXPECT_EQ(mask::hf_bidirectional(4).to_string(), "window(4, 4)");
  EXPECT_EQ(mask::global_tokens({4, 0, 4}).to_string(), "global_tokens([0, 4])");
  EXPECT_EQ(mask::documents({1, 1, 2}).to_string(), "documents([1, 1, 2])");
  EXPECT_EQ(mask::blocks(2, {{1, 0}, {}}).to_string(), "blocks(2, [[0, 1], []])");
  EXPECT_EQ(mask::longformer(8, {0}, {1, 2}).to_string(),
            "dilated(4, [1, 2]) | global_tokens([0])");
  EXPECT_EQ(mask::bigbird(64, 3, 7).to_string(), "bigbird(64, 3, 7)");
  const std::uint8_t seen[] = {1, 0, 1, 1, 0, 0, 0, 0, 1};
  EXPECT_EQ(mask::dense(seen, {1, 1, 3, 3}).to_string(), "dense([1, 1, 3, 3], \"DQE=\")");
}

TEST(MaskText, ParsesWhatPeopleWrite) {
  const auto canonical = [](const char* text) { return Mask::parse(text).to_string(); };
  EXPECT_EQ(canonical("all"), "all");
  EXPECT_EQ(canonical(" causal&window( 256,0 ) "), "causal & window(256, 0)");
  EXPECT_EQ(canonical("(causal) & ((window(256, 0) & all))"), "causal & window(256, 0)");
  EXPECT_EQ(canonical("causal()"), "causal");
  EXPECT_EQ(canonical("causal(\"bottom_right\")"), "causal");
  EXPECT_EQ(canonical("causal(corner = \"top_left\")"), "causal(corner=\"top_left\")");
  EXPECT_EQ(canonical("window(right=3, left=None)"), "window(None, 3)");
  EXPECT_EQ(canonical("mistral(16)"), "window(15, 0)");
  EXPECT_EQ(canonical("causal|prefix(3)&~ ~window(1,1)"), "causal | prefix(3) & window(1, 1)");
  EXPECT_EQ(canonical("~(causal | ~all)"), "~(causal | none)");
  EXPECT_EQ(canonical("positions([1, 2], None)"), "positions([1, 2])");
  EXPECT_EQ(canonical("blocks(2, lists=[[[0]], [[ ]]])"), "blocks(2, [[[0]], [[]]])");
  EXPECT_EQ(canonical("bigbird(8, 1, seed=4, layout=\"etc\", num_global_tokens=16)"),
            "bigbird(8, 1, 4, layout=\"etc\", num_global_tokens=16)");
  EXPECT_EQ(canonical("lengths([1,2],\n[3,4])"), "lengths([1, 2], [3, 4])");
  EXPECT_EQ(canonical("window(9223372036854775807, 0)"), "window(9223372036854775807, 0)");
}

TEST(MaskText, EqualMasksCompareEqual) {
  EXPECT_EQ(Mask::parse("causal & window(3, 0)"), mask::causal() & mask::mistral(4));
  EXPECT_FALSE(mask::causal() == Mask());
  EXPECT_FALSE(mask::causal() == mask::causal(mask::Corner::kTopLeft));
}

RC_GTEST_PROP(MaskText, ParsesBackToAnEqualMask, ()) {
  const Mask mask = mask_testing::random_mask(mask_testing::random_scope(100));
  RC_ASSERT(Mask::parse(mask.to_string()) == mask);
}

// Any bytes give a mask or one kInvalidArgument that names a column.
RC_GTEST_PROP(MaskText, AnyTextIsParsedOrRefused, ()) {
  static constexpr const char* kPieces[] = {"causal", "window", "(",    ")",   ",",    "&",
                                            "[",      "]",      "-",    "1",   "None", "\"",
                                            " ",      "=",      "left", "all", "\xff", "|"};
  std::string text;
  for (std::int64_t n = mask_testing::number(0, 20); n > 0; --n) {
    text += kPieces[mask_testing::number(0, std::ssize(kPieces) - 1)];
  }
  try {
    RC_ASSERT(Mask::parse(Mask::parse(text).to_string()) == Mask::parse(text));
  } catch (const Error& error) {
    RC_ASSERT(error.code() == ErrorCode::kInvalidArgument);
    RC_ASSERT(std::string(error.what()).starts_with("[mask] column "));
  }
}

struct BadText {
  const char* text;
  const char* message;
};
class MaskTextBad : public testing::TestWithParam<BadText> {};

std::string parse_error(const std::string& text) {
  try {
    Mask::parse(text);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    return error.what();
  }
  return "no error";
}

TEST_P(MaskTextBad, NamesTheColumn) {
  EXPECT_EQ(parse_error(GetParam().text), std::string("[mask] column ") + GetParam().message);
}
INSTANTIATE_TEST_SUITE_P(
    All, MaskTextBad,
    testing::Values(
        BadText{"", "1: expected a rule, found the end of the text."},
        BadText{"causal &", "9: expected a rule, found the end of the text."},
        BadText{"causal window(1, 2)", "8: expected &, | or the end of the text, found 'w'."},
        BadText{"(causal", "8: expected ), found the end of the text."},
        BadText{"causal)", "7: expected &, | or the end of the text, found ')'."},
        BadText{"window", "1: window needs the argument left (number 1)."},
        BadText{"causal & window(1)", "10: window needs the argument right (number 2)."},
        BadText{"window(1, 2, 3)", "14: window does not take so many arguments."},
        BadText{"window(1, top=2)", "1: window needs the argument right (number 2). Given: top."},
        BadText{"causal(side=1)", "8: causal has no argument called side."},
        BadText{"window(1, 2, right=3)", "14: window is given right twice."},
        BadText{"window(left=1, left=1, right=2)", "16: window is given left twice."},
        BadText{"window(\"1\", 2)", "8: window: left is a text. It must be an integer or None."},
        BadText{"causal & window(-1, 0)",
                "10: [window] left is -1. It must be 0 or more; use None for no bound."},
        BadText{"mistral(None)", "9: mistral: size is None. It must be an integer."},
        BadText{"lengths(1, 2)",
                "9: lengths: q_lens is an integer. It must be a list of integers."},
        BadText{"lengths([1, 2], [3)", "19: expected ], found ')'."},
        BadText{"lengths([1], [x])", "15: expected an integer, found 'x'."},
        BadText{"causal(corner=\"left\")",
                "8: causal: corner is \"left\". It must be \"bottom_right\" or \"top_left\"."},
        BadText{"causal(corner=1)",
                "8: causal: corner is an integer. It must be \"bottom_right\" or \"top_left\"."},
        BadText{"causal(\"top_left)", "8: this text has no closing quote."},
        BadText{"window(99999999999999999999, 0)", "8: this integer does not fit 64 bits."},
        BadText{
            "lengths([1], [1]) & lengths([1], [1])",
            "19: both sides of & say where tokens stand. Only one of lengths, packed and positions "
            "may be given."},
        BadText{"causal |", "9: expected a rule, found the end of the text."},
        BadText{"~", "2: expected a rule, found the end of the text."},
        BadText{"prefix(-1)", "1: [prefix] n is -1. It must be 0 or more."},
        BadText{"chunked(0)", "1: [chunked] size is 0. It must be 1 .. 2^48."},
        BadText{"dilated(2, 0)", "1: [dilated] step is 0. It must be 1 .. 2^60."},
        BadText{"dilated(2, [])",
                "1: [dilated] step is an empty list. Give one step, or one for each head."},
        BadText{"global_tokens([-1])",
                "1: [global_tokens] positions[0] is -1. It must be 0 .. 2^48."},
        BadText{"global_tokens([[1], [2, -3]])",
                "1: [global_tokens] positions[1][1] is -3. It must be 0 .. 2^48."},
        BadText{"padding([0, 2])", "1: [padding] keep[1] is 2. It must be 0 .. 1."},
        BadText{"documents([[[1]]])",
                "11: documents: q_ids is a list. It must be a list of integers, or one for each "
                "batch entry."},
        BadText{"documents([1, [2]])", "15: expected an integer, found '['."},
        BadText{"documents([[1], 2])", "17: expected [, found '2'."},
        BadText{"blocks(2, [[[[0]]]])", "14: lists are more than 3 deep."},
        BadText{"blocks(2, [1])",
                "11: blocks: lists is a list. It must be a list of lists of key blocks, or one for "
                "each head."},
        BadText{"blocks(2, [[1, 1]])",
                "1: [blocks] lists[0] holds key block 1 twice. Each may be listed once."},
        BadText{"blocks(2, [[-1]])",
                "1: [blocks] lists[0] holds key block -1. Blocks count from 0."},
        BadText{"blocks(0, [[1]])", "1: [blocks] block_size is 0. It must be 1 .. 2^48."},
        BadText{"tree([1, 0])",
                "1: [tree] parents[0] is 1, which leads round in a circle. A tree has no cycles."},
        BadText{"tree([-1, 1])",
                "1: [tree] parents[1] is 1, which leads round in a circle. A tree has no cycles."},
        BadText{"tree([-1, 2])",
                "1: [tree] parents[1] is 2. It must be -1 .. 1: a node, or -1 for none."},
        BadText{"packed([0, 3, 2])",
                "1: [packed] cu_q[2] is 2 after 3. It must never fall, and be at most 2^48."},
        BadText{"packed([1, 3])",
                "1: [packed] cu_q starts with 1. It must start with 0 and have one more entry than "
                "there are sequences."},
        BadText{"packed([])",
                "1: [packed] cu_q is empty. It must start with 0 and have one more entry than "
                "there are sequences."},
        BadText{"packed([0, 1], [0, 1, 2])",
                "1: [packed] cu_q is for 1 sequences, cu_kv for 2. They must be equal."},
        BadText{"media([0], 0)", "1: [media] tokens_per_media is 0. It must be 1 or more."},
        BadText{"longformer(3)",
                "1: [longformer] attention_window is 3. It must be even and 0 or more: half of it "
                "lies on each side."},
        BadText{"bigbird(8, 65, 0)", "1: [bigbird] num_random_blocks is 65. It must be 0 .. 64."},
        BadText{"bigbird(8, 1, 0, layout=\"etc\")",
                "1: bigbird needs the argument num_global_tokens (number 5)."},
        BadText{"dense([1, 1, 2], \"\")",
                "1: [dense] shape has 3 entries. It must be [batch, n_heads, q_len, kv_len]."},
        BadText{"dense([1, 1, 2, 2], \"AAA\")",
                "1: [base64] the text has 3 characters. It must be a multiple of 4, padded with "
                "=."},
        BadText{"dense([1, 1, 2, 2], \"A!AA\")",
                "1: [base64] character 2 is none of A-Z a-z 0-9 + /."},
        BadText{"dense([1, 1, 2, 2], \"AAAA\")",
                "1: [dense] bits holds 3 bytes, its shape needs 1."},
        BadText{"dense([1, 1, 4000000000, 4000000000], \"AAAA\")",
                "1: [dense] its shape is [1, 1, 4000000000, 4000000000]. Sizes must be 0 or more, "
                "with at most 2^40 pairs."},
        BadText{"causal | lengths([1], [1])",
                "8: a side of | says where tokens stand (lengths, packed or positions). Join it "
                "with & at the top, as in (causal | prefix(4)) & lengths([8], [8])."},
        BadText{"~packed([0, 1])",
                "1: ~ would let padding be seen: its mask says where tokens stand (lengths, packed "
                "or positions). Join that rule with & at the top, as in ~causal & lengths([8], "
                "[8])."},
        BadText{"padding([[1], [1]]) & documents([[1], [1], [1]])",
                "21: the sides of & are for 2 and 3 batch entries. They must agree."},
        BadText{"dilated(1, [1, 2]) | dilated(1, [1, 2, 3])",
                "20: the sides of | are for 2 and 3 heads. They must agree."},
        BadText{"lengths([1], [1, 2])",
                "1: [lengths] q_lens has 1 entries, kv_lens has 2. Give one of each for each batch "
                "entry, and at least one."}));

// The list itself is the table's: a new rule changes no test.
TEST(MaskText, AnUnknownRuleIsToldTheKnownOnes) {
  const std::string message = parse_error("causal & causel");
  EXPECT_TRUE(
      message.starts_with("[mask] column 10: there is no rule 'causel'. The rules are all,"))
      << message;
  EXPECT_NE(message.find(" window"), std::string::npos);
}

TEST(MaskText, AnUnknownRuleIsShownWhole) {
  EXPECT_TRUE(
      parse_error("caus\xc3\xa4l(3)").starts_with("[mask] column 1: there is no rule 'caus??l'."));
}

TEST(MaskText, EitherQuoteWillDo) {
  EXPECT_EQ(Mask::parse("causal(corner='top_left')"), Mask::parse("causal(corner=\"top_left\")"));
  EXPECT_EQ(parse_error("causal(corner='top_left\")"),
            "[mask] column 15: this text has no closing quote.");
}

TEST(MaskText, LimitsDepthAndSize) {
  const std::string deep = std::string(100000, '(') + "causal" + std::string(100000, ')');
  EXPECT_EQ(parse_error(deep), "[mask] column 65: parentheses are more than 64 deep.");
  EXPECT_EQ(parse_error(std::string((1 << 20) + 1, ' ')),
            "[mask] the text has 1048577 bytes. At most 1048576 are allowed.");
  std::string many = "causal";
  for (int i = 0; i < 100000; ++i) many += " & all & causal";
  EXPECT_EQ(
      parse_error(many.substr(0, 1000001)),
      "[mask] column 15329: the mask would have more than 1024 rules. That is the most a mask "
      "may have.");
  EXPECT_EQ(Mask::parse("dense([1, 1, 1099511627776, 0], \"\")").to_string(),
            "dense([1, 1, 1099511627776, 0], \"\")");
  const std::string not_not(100001, '~');
  EXPECT_EQ(Mask::parse(not_not + "causal").to_string(), "~causal");
  EXPECT_EQ(parse_error("blocks(2, " + std::string(100000, '[')),
            "[mask] column 14: lists are more than 3 deep.");
  Mask nested = mask::causal();
  for (int i = 0; i < 31; ++i) nested = ~(nested & mask::prefix(i));
  EXPECT_EQ(Mask::parse(nested.to_string()), nested);
  EXPECT_THROW(~(nested & mask::prefix(0)), Error);
  const std::string garbage(1000000, 'x');
  EXPECT_LT(parse_error(garbage).size(), 500u);
}

}  // namespace
}  // namespace raptly
