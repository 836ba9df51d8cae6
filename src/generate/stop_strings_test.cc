#include "generate/stop_strings.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include "raptly/error.h"

namespace raptly {
namespace {

TEST(StopStrings, HoldsBackWhatMayBecomeOne) {
  StopStrings stops({"###", "END."});
  EXPECT_EQ(stops.push("one #"), "one ");
  EXPECT_EQ(stops.push("#"), "");
  EXPECT_EQ(stops.push("two EN"), "##two ");
  EXPECT_EQ(stops.push("D"), "");
  EXPECT_EQ(stops.push("s E"), "ENDs ");
  EXPECT_EQ(stops.finish(), "E");
  EXPECT_FALSE(stops.stopped());
}

TEST(StopStrings, EndsBeforeTheFirst) {
  StopStrings stops({"stop", "top", "op!"});
  EXPECT_EQ(stops.push("do not s"), "do not ");
  EXPECT_EQ(stops.push("top! more"), "");
  EXPECT_TRUE(stops.stopped());
  EXPECT_EQ(stops.push("anything"), "");
  EXPECT_EQ(stops.finish(), "");
}

TEST(StopStrings, NoneShowsAllAtOnce) {
  StopStrings stops({});
  EXPECT_EQ(stops.push("abc"), "abc");
}

TEST(StopStrings, EmptyIsAnError) { EXPECT_THROW(StopStrings({"a", ""}), Error); }

// However the text is cut, what is shown is the text up to the first stop string.
RC_GTEST_PROP(StopStrings, CutsDoNotMatter, ()) {
  const auto letters = rc::gen::elementOf(std::string("ab"));
  const auto text = *rc::gen::container<std::string>(letters);
  const auto stop_list = *rc::gen::container<std::vector<std::string>>(
      rc::gen::nonEmpty(rc::gen::container<std::string>(letters)));
  std::size_t end = text.size();
  for (std::size_t last = 0; last <= text.size() && end == text.size(); ++last) {
    for (const std::string& stop : stop_list) {
      if (std::string_view(text).substr(0, last).ends_with(stop))
        end = std::min(end, last - stop.size());
    }
  }
  StopStrings stops(stop_list);
  std::string shown;
  for (std::size_t i = 0; i < text.size();) {
    const auto n = static_cast<std::size_t>(*rc::gen::inRange(1, 5));
    shown += stops.push(std::string_view(text).substr(i, n));
    RC_ASSERT(text.substr(0, end).starts_with(shown));
    i += n;
  }
  shown += stops.finish();
  RC_ASSERT(shown == text.substr(0, end));
}

}  // namespace
}  // namespace raptly
