#include "text/normalize.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>
#include <utf8proc.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "text/utf8.h"

namespace raptly {
namespace {

TEST(Normalize, ComposesOrdersAndLeavesExclusions) {
  EXPECT_EQ(to_nfc("a\xCC\x81"), "\xC3\xA1");                   // a + acute
  EXPECT_EQ(to_nfc("\xE2\x84\xAB"), "\xC3\x85");                // Angstrom sign
  EXPECT_EQ(to_nfc("q\xCC\x87\xCC\xA3"), "q\xCC\xA3\xCC\x87");  // dot below comes first
  EXPECT_EQ(to_nfc("\xE1\x84\x80\xE1\x85\xA1\xE1\x86\xA8"), "\xEA\xB0\x81");  // Hangul
  EXPECT_EQ(to_nfc("\xE0\xA5\x98"), "\xE0\xA4\x95\xE0\xA4\xBC");  // excluded from composition
  EXPECT_EQ(to_nfc("\xEF\xAC\x81"), "\xEF\xAC\x81");              // fi stays: not NFKC
  EXPECT_EQ(to_nfc(""), "");
}

TEST(Normalize, KeepsBrokenBytesAndDoesNotComposeAcrossThem) {
  EXPECT_EQ(to_nfc("a\xFF\xCC\x81z\xE2\x82"), "a\xFF\xCC\x81z\xE2\x82");
}

TEST(Normalize, LongRunsOfMarksTakeNoQuadraticTime) {
  std::string text = "a";
  for (int i = 0; i < 250'000; ++i) text += "\xCC\x95";  // class 232
  for (int i = 0; i < 250'000; ++i) text += "\xCC\x96";  // class 220 goes before it
  const std::string normal = to_nfc(text);
  EXPECT_EQ(normal.size(), text.size());
  EXPECT_EQ(normal.substr(1, 2), "\xCC\x96");
}

// utf8proc_map orders marks by its own code.
RC_GTEST_PROP(Normalize, EqualsUtf8proc, ()) {
  const auto code = rc::gen::oneOf(rc::gen::inRange<std::uint32_t>(0x41, 0x250),
                                   rc::gen::inRange<std::uint32_t>(0x300, 0x370),
                                   rc::gen::inRange<std::uint32_t>(0x900, 0x1200),
                                   rc::gen::inRange<std::uint32_t>(0x1E00, 0x2130),
                                   rc::gen::inRange<std::uint32_t>(0xAC00, 0xAC40),
                                   rc::gen::inRange<std::uint32_t>(0xF900, 0xFB4F),
                                   rc::gen::inRange<std::uint32_t>(0x1D158, 0x1D1C0));
  std::string text;
  for (const std::uint32_t c : *rc::gen::container<std::vector<std::uint32_t>>(code)) {
    append_utf8(text, c);
  }
  utf8proc_uint8_t* mapped = nullptr;
  const auto n = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                              static_cast<utf8proc_ssize_t>(text.size()), &mapped,
                              static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
  RC_ASSERT(n >= 0);
  const std::string want(reinterpret_cast<char*>(mapped), static_cast<std::size_t>(n));
  std::free(mapped);
  RC_ASSERT(to_nfc(text) == want);
  if (surely_nfc(text)) RC_ASSERT(want == text);
}

}  // namespace
}  // namespace raptly
