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
  EXPECT_EQ(canonical("lengths([1,2],\n[3,4])"), "lengths([1, 2], [3, 4])");
  EXPECT_EQ(canonical("window(9223372036854775807, 0)"), "window(9223372036854775807, 0)");
}

TEST(MaskText, EqualMasksCompareEqual) {
  EXPECT_EQ(Mask::parse("causal & window(3, 0)"), mask::causal() & mask::mistral(4));
  EXPECT_FALSE(mask::causal() == Mask());
  EXPECT_FALSE(mask::causal() == mask::causal(mask::Corner::kTopLeft));
}

RC_GTEST_PROP(MaskText, ParsesBackToAnEqualMask, ()) {
  const Mask mask = mask_testing::random_mask(mask_testing::random_scope(1000));
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
        BadText{"causal window(1, 2)", "8: expected & or the end of the text, found 'w'."},
        BadText{"(causal", "8: expected ), found the end of the text."},
        BadText{"causal)", "7: expected & or the end of the text, found ')'."},
        BadText{"window", "1: window needs the argument left (number 1)."},
        BadText{"causal & window(1)", "10: window needs the argument right (number 2)."},
        BadText{"window(1, 2, 3)", "14: window does not take so many arguments."},
        BadText{"window(1, top=2)", "1: window needs the argument right (number 2)."},
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
            "19: both sides of & say where the queries stand. Only one lengths() may be given."},
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
  const std::string garbage(1000000, 'x');
  EXPECT_LT(parse_error(garbage).size(), 200u);
}

}  // namespace
}  // namespace raptly
