#include "text/bpe.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

namespace raptly {
namespace {

// Tokens are strings here; the definition, word for word.
using Strings = std::vector<std::string>;
using Ranks = std::map<std::pair<std::string, std::string>, std::size_t>;

Strings merge_as_defined(Strings word, const Ranks& ranks) {
  for (;;) {
    auto best = ranks.end();
    std::size_t at = 0;
    for (std::size_t i = 0; i + 1 < word.size(); ++i) {
      const auto found = ranks.find({word[i], word[i + 1]});
      if (found != ranks.end() && (best == ranks.end() || found->second < best->second)) {
        best = found;
        at = i;
      }
    }
    if (best == ranks.end()) return word;
    word[at] += word[at + 1];
    word.erase(word.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
}

// A random merge table over "a", "b", "c": each merge joins two tokens that there are.
struct Model {
  Strings tokens{"a", "b", "c"};
  std::map<std::string, TokenId> ids{{"a", 0}, {"b", 1}, {"c", 2}};
  Ranks ranks;
  MergeTable table{64};

  Model() {
    const int n = *rc::gen::inRange(0, 64);
    for (int i = 0; i < n; ++i) {
      const auto left = *rc::gen::elementOf(tokens);
      const auto right = *rc::gen::elementOf(tokens);
      if (ranks.contains({left, right})) continue;
      const std::string merged = left + right;
      if (!ids.contains(merged)) {
        ids[merged] = static_cast<TokenId>(tokens.size());
        tokens.push_back(merged);
      }
      const std::size_t rank = ranks.size();
      ranks[{left, right}] = rank;
      RC_ASSERT(table.add(ids[left], ids[right], static_cast<std::uint32_t>(rank), ids[merged]));
    }
  }
};

RC_GTEST_PROP(Bpe, MergesAsDefined, ()) {
  const Model model;
  const auto length = *rc::gen::inRange(0, 120);  // both sides of the switch at 32
  Strings word;
  std::vector<TokenId> ids;
  for (int i = 0; i < length; ++i) {
    const int letter = *rc::gen::inRange(0, 3);
    word.push_back(model.tokens[static_cast<std::size_t>(letter)]);
    ids.push_back(letter);
  }
  MergeTable::Scratch scratch;
  model.table.merge(ids, scratch);
  Strings got;
  for (const TokenId id : ids) got.push_back(model.tokens[static_cast<std::size_t>(id)]);
  RC_ASSERT(got == merge_as_defined(word, model.ranks));
}

TEST(Bpe, LeftmostOfEqualPairsFirst) {
  MergeTable table(1);
  ASSERT_TRUE(table.add(0, 0, 0, 1));
  MergeTable::Scratch scratch;
  for (const std::size_t n : {3u, 33u}) {
    std::vector<TokenId> word(n, 0);
    table.merge(word, scratch);
    std::vector<TokenId> want(n / 2, 1);
    want.push_back(0);
    EXPECT_EQ(word, want);
  }
}

TEST(Bpe, APairIsAddedOnce) {
  MergeTable table(2);
  EXPECT_TRUE(table.add(3, 4, 0, 5));
  EXPECT_FALSE(table.add(3, 4, 1, 6));
  EXPECT_EQ(table.find(3, 4), 5u);
  EXPECT_EQ(table.find(4, 3), MergeTable::kNone);
}

}  // namespace
}  // namespace raptly
