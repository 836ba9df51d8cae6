#include <algorithm>
#include <set>

#include "cache/test_cache.h"

namespace raptly {
namespace {

using namespace cache_testing;  // NOLINT: the room's own test helpers

constexpr std::size_t kTokenBytes = 2 * 3 * 9 * 4;
constexpr std::size_t kPageBytes = 2 * 896;  // 8 tokens, in each layer whole lines of 64 bytes

PagedCache make(std::int64_t n_pages, std::int64_t page_size = 8, int hash_bits = 64) {
  return PagedCache(kShape, {.n_pages = n_pages, .page_size = page_size, .hash_bits = hash_bits});
}

// The memory of a sequence's keys, page by page.
std::vector<const void*> pages_of(const PagedCache& cache, SequenceId s) {
  std::vector<const void*> pages;
  for (const KvRun& run : cache.view(s, 0).runs) pages.push_back(run.k);
  return pages;
}

TEST(PagedCache, OneRunAPage) {
  PagedCache cache = make(10);
  const SequenceId s = cache.add_sequence();
  std::vector<Token> history;
  for (const std::int64_t n : {5, 3, 1, 20, 7}) {
    append(cache, s, history, count_tokens(static_cast<Token>(history.size()), n));
    check_contents(cache, s, history);
    ASSERT_EQ(cache.check_valid(), "");
  }
  EXPECT_EQ(cache.view(s, 1).runs.size(), 5u);
  EXPECT_EQ(cache.capacity(s), 80);
  const CacheStats stats = cache.stats();
  EXPECT_EQ(stats.pages_total, 10);
  EXPECT_EQ(stats.pages_used, 5);
  EXPECT_EQ(stats.bytes_used, 5 * kPageBytes);
  EXPECT_EQ(stats.bytes_wasted, 5 * kPageBytes - 36 * kTokenBytes);
  for (const KvRun& run : cache.view(s, 1).runs) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(run.k) % 64, 0u);
  }
}

TEST(PagedCache, ForkSharesPagesUntilOneWrites) {
  PagedCache cache = make(10);
  const SequenceId a = cache.add_sequence();
  std::vector<Token> of_a;
  append(cache, a, of_a, count_tokens(0, 20));
  const SequenceId b = cache.fork(a), c = cache.fork(a);
  EXPECT_EQ(cache.stats().pages_used, 3);
  EXPECT_EQ(cache.stats().pages_shared, 3);
  EXPECT_EQ(pages_of(cache, a), pages_of(cache, b));
  std::vector<Token> of_b = of_a, of_c = of_a;
  append(cache, b, of_b, {900});
  EXPECT_EQ(cache.stats().pages_used, 4);  // the last page copied, the others shared
  EXPECT_EQ(pages_of(cache, a)[1], pages_of(cache, b)[1]);
  EXPECT_NE(pages_of(cache, a)[2], pages_of(cache, b)[2]);
  cache.remove(a);
  const auto before = pages_of(cache, c);
  append(cache, c, of_c, {800});  // its own by now: written in place
  EXPECT_EQ(pages_of(cache, c), before);
  check_contents(cache, b, of_b);
  check_contents(cache, c, of_c);
  ASSERT_EQ(cache.check_valid(), "");
}

// All holders of a page write in one call: all but the last need a copy.
TEST(PagedCache, ForksThatGrowTogetherNeedOneCopyLess) {
  PagedCache cache = make(3);
  const SequenceId a = cache.add_sequence();
  std::vector<Token> history;
  append(cache, a, history, count_tokens(0, 4));
  const std::vector<SequenceId> all = {a, cache.fork(a), cache.fork(a)};
  cache.extend(all, std::vector<std::int64_t>(3, 2));
  EXPECT_EQ(cache.stats().pages_used, 3);
  for (std::size_t i = 0; i < 3; ++i) {
    std::vector<Token> mine = history;
    mine.resize(6, static_cast<Token>(100 * i));
    write_tokens(cache, all[i], mine, 4);
  }
  for (std::size_t i = 0; i < 3; ++i) {
    std::vector<Token> mine = history;
    mine.resize(6, static_cast<Token>(100 * i));
    check_contents(cache, all[i], mine);
  }
  const SequenceId d = cache.fork(a);
  EXPECT_EQ(cache.capacity(d), 6);  // no page for the copy
  EXPECT_EQ(cache.max_chunk(d), 0);
  cache.remove(d);
  EXPECT_EQ(cache.capacity(a), 8);
}

TEST(PagedCache, SharesPrefixesWhileTheDonorRuns) {
  PagedCache cache = make(20);
  const std::vector<Token> prompt = count_tokens(0, 20);
  const SequenceId a = cache.add_sequence(prompt);
  EXPECT_EQ(cache.length(a), 0);
  std::vector<Token> of_a;
  append(cache, a, of_a, prompt, true);
  append(cache, a, of_a, count_tokens(500, 7), true);
  std::vector<Token> other = prompt;
  other.resize(16);
  other.push_back(777);
  const SequenceId b = cache.add_sequence(other);
  EXPECT_EQ(cache.length(b), 16);
  check_contents(cache, b, std::vector<Token>(other.begin(), other.begin() + 16));
  std::vector<Token> of_b(other.begin(), other.begin() + 16);
  append(cache, b, of_b, {777}, true);
  check_contents(cache, a, of_a);
  check_contents(cache, b, of_b);
  EXPECT_EQ(cache.stats().pages_shared, 2);
  EXPECT_EQ(cache.stats().prefix_lookups, 4);
  EXPECT_EQ(cache.stats().prefix_hits, 2);
  // A query must be left: of 16 tokens that are all known one page is taken.
  EXPECT_EQ(cache.length(cache.add_sequence(std::span(other).first(16))), 8);
  // The same tokens behind others are something else.
  const std::vector<Token> shifted = count_tokens(8, 12);
  EXPECT_EQ(cache.length(cache.add_sequence(shifted)), 0);
  ASSERT_EQ(cache.check_valid(), "");
}

TEST(PagedCache, FindsWhatWasRemovedUntilItIsNeeded) {
  PagedCache cache = make(4);
  const std::vector<Token> prompt = count_tokens(0, 33);
  const auto store = [&](const std::vector<Token>& tokens) {
    const SequenceId s = cache.add_sequence(tokens);
    std::vector<Token> history(tokens.begin(), tokens.begin() + cache.length(s));
    append(cache, s, history, {tokens.begin() + cache.length(s), tokens.end()}, true);
    check_contents(cache, s, tokens);
    return s;
  };
  cache.remove(store(count_tokens(0, 24)));
  EXPECT_EQ(cache.stats().pages_used, 0);
  const std::vector<Token> again = count_tokens(0, 25);
  SequenceId s = cache.add_sequence(again);
  EXPECT_EQ(cache.length(s), 24);
  check_contents(cache, s, count_tokens(0, 24));
  cache.remove(s);
  // Another sequence takes the page that was never used, then the tail of the first, not its head.
  s = store(count_tokens(600, 16));
  EXPECT_EQ(cache.length(cache.add_sequence(again)), 16);
  ASSERT_EQ(cache.check_valid(), "");
}

TEST(PagedCache, TheLongestUnusedIsTakenFirst) {
  PagedCache cache = make(3);
  const auto store = [&](Token first) {
    const std::vector<Token> tokens = count_tokens(first, 8);
    const SequenceId s = cache.add_sequence();
    std::vector<Token> history;
    append(cache, s, history, tokens, true);
    cache.remove(s);
  };
  const auto is_there = [&](Token first) {
    const SequenceId s = cache.add_sequence(count_tokens(first, 9));
    const bool found = cache.length(s) == 8;
    cache.remove(s);
    return found;
  };
  store(100), store(200), store(300);
  EXPECT_TRUE(is_there(100));  // used again: now 200 is the oldest
  store(400);
  EXPECT_TRUE(is_there(100));
  EXPECT_FALSE(is_there(200));
  EXPECT_TRUE(is_there(300));
  EXPECT_TRUE(is_there(400));
}

// With no bits of hash left every page collides with every other.
TEST(PagedCache, CollisionsAreToldApartByTheirTokens) {
  for (const int hash_bits : {0, 1}) {
    PagedCache cache = make(30, 8, hash_bits);
    std::vector<std::vector<Token>> histories;
    for (Token i = 0; i < 6; ++i) {
      const SequenceId s = cache.add_sequence(count_tokens(i * 100, 20));
      ASSERT_EQ(cache.length(s), 0);
      histories.emplace_back();
      append(cache, s, histories.back(), count_tokens(i * 100, 20), true);
    }
    for (Token i = 0; i < 6; ++i) {
      const SequenceId s = cache.add_sequence(count_tokens(i * 100, 20));
      ASSERT_EQ(cache.length(s), 16);
      check_contents(cache, s, count_tokens(i * 100, 16));
      // The second page of one behind the first of another.
      std::vector<Token> mixed = count_tokens(i * 100, 8);
      for (const Token token : count_tokens((i + 1) % 6 * 100 + 8, 9)) mixed.push_back(token);
      ASSERT_EQ(cache.length(cache.add_sequence(mixed)), 8);
    }
    ASSERT_EQ(cache.check_valid(), "");
  }
}

// What a sequence writes over is no longer what others may find.
TEST(PagedCache, RewrittenPagesAreForgotten) {
  PagedCache cache = make(10);
  const std::vector<Token> tokens = count_tokens(0, 17);
  const SequenceId s = cache.add_sequence();
  std::vector<Token> history;
  append(cache, s, history, tokens, true);
  cache.truncate(s, 10);
  history.resize(10);
  EXPECT_EQ(cache.length(cache.add_sequence(tokens)), 16);  // nothing is written over yet
  cache.remove(1);
  append(cache, s, history, count_tokens(700, 7), true);
  EXPECT_EQ(cache.length(cache.add_sequence(tokens)), 8);
  std::vector<Token> rewritten = history;
  EXPECT_EQ(cache.length(cache.add_sequence(rewritten)), 16);
  ASSERT_EQ(cache.check_valid(), "");
}

TEST(PagedCache, UnknownTokensAreNotFound) {
  PagedCache cache = make(10);
  const SequenceId s = cache.add_sequence();
  std::vector<Token> history;
  append(cache, s, history, count_tokens(0, 4), false);
  append(cache, s, history, count_tokens(4, 20), true);
  EXPECT_EQ(cache.length(cache.add_sequence(count_tokens(0, 20))), 0);
  cache.truncate(s, 0);
  history.clear();
  append(cache, s, history, count_tokens(0, 20), true);
  EXPECT_EQ(cache.length(cache.add_sequence(count_tokens(0, 20))), 16);
}

TEST(PagedCache, SwapsOutAndIn) {
  PagedCache cache = make(6);
  const SequenceId a = cache.add_sequence(), b = cache.add_sequence();
  std::vector<Token> of_a, of_b;
  append(cache, a, of_a, count_tokens(0, 27), true);
  const std::size_t pool = cache.nbytes();
  cache.swap_out(a);
  cache.swap_out(a);
  EXPECT_EQ(cache.length(a), 27);
  EXPECT_EQ(cache.stats().pages_used, 0);
  EXPECT_EQ(cache.nbytes(), pool + 4 * kPageBytes);
  append(cache, b, of_b, count_tokens(300, 30));
  for (const auto& call : std::vector<std::function<void()>>{
           [&] { cache.truncate(a, 2); },
           [&] { cache.fork(a); },
           [&] { static_cast<void>(cache.view(a, 0)); },
           [&] { static_cast<void>(cache.capacity(a)); },
           [&] { cache.extend(std::vector{a}, std::vector<std::int64_t>{1}); },
       }) {
    expect_error(ErrorCode::kInvalidArgument, "sequence 0 is swapped out. swap_in() it first",
                 call);
  }
  expect_error(ErrorCode::kContextFull, "sequence 0 needs 4 pages to come back. 2 of 6 are free",
               [&] { cache.swap_in(a); });
  check_contents(cache, b, of_b);
  cache.remove(b);
  cache.swap_in(a);
  cache.swap_in(a);
  check_contents(cache, a, of_a);
  EXPECT_EQ(cache.nbytes(), pool);
  append(cache, a, of_a, count_tokens(27, 9), true);
  check_contents(cache, a, of_a);
  // Two that shared pages share them again.
  const SequenceId c = cache.fork(a);
  cache.swap_out(a);
  cache.swap_out(c);
  cache.swap_in(a);
  cache.swap_in(c);
  EXPECT_EQ(cache.stats().pages_shared, 4);
  check_contents(cache, a, of_a);
  check_contents(cache, c, of_a);
  expect_error(ErrorCode::kNotFound, "sequence 77", [&] { cache.swap_out(77); });
  expect_error(ErrorCode::kNotFound, "sequence 77", [&] { cache.swap_in(77); });
  ASSERT_EQ(cache.check_valid(), "");
}

TEST(PagedCache, AnExhaustedPoolLosesNothing) {
  PagedCache cache = make(4);
  const SequenceId a = cache.add_sequence(), b = cache.add_sequence();
  std::vector<Token> of_a, of_b;
  append(cache, a, of_a, count_tokens(0, 12));
  append(cache, b, of_b, count_tokens(300, 7));
  const std::vector<SequenceId> both = {a, b};
  expect_error(ErrorCode::kContextFull,
               "2 more pages of 8 tokens are needed. 1 of 4 are free: remove or swap out",
               [&] { cache.extend(both, std::vector<std::int64_t>{5, 2}); });
  check_contents(cache, a, of_a);
  check_contents(cache, b, of_b);
  EXPECT_EQ(cache.stats().pages_used, 3);
  EXPECT_EQ(cache.capacity(a), 24);
  append(cache, a, of_a, count_tokens(12, 12));
  check_contents(cache, a, of_a);
  ASSERT_EQ(cache.check_valid(), "");
}

TEST(PagedCache, RefusesBadOptions) {
  const auto with = [](PagedOptions options) { PagedCache cache(kShape, options); };
  for (const std::int64_t page_size : {0, 7, 257, -16}) {
    expect_error(ErrorCode::kInvalidArgument,
                 "page_size is " + std::to_string(page_size) + ". It must be 8 to 256",
                 [&] { with({.n_pages = 4, .page_size = page_size}); });
  }
  expect_error(ErrorCode::kInvalidArgument, "n_pages is 0", [&] { with({}); });
  expect_error(ErrorCode::kInvalidArgument, "hash_bits is 65",
               [&] { with({.n_pages = 4, .hash_bits = 65}); });
}

// The figures of a server: 200 sequences of 1 to 2000 tokens, and one prompt for 100 of them.
TEST(PagedCache, WastesLittle) {
  PagedCache cache({.n_layers = 1, .n_kv_heads = 1, .head_dim = 2},
                   {.n_pages = 20000, .page_size = 16});
  for (std::int64_t i = 0; i < 200; ++i) {
    const SequenceId s = cache.add_sequence();
    const std::int64_t n = 1 + i * 7919 % 2000;
    cache.extend({&s, 1}, {&n, 1});
  }
  const CacheStats stats = cache.stats();
  EXPECT_LT(static_cast<double>(stats.bytes_wasted), 0.01 * static_cast<double>(stats.bytes_used));
}
TEST(PagedCache, ACommonPromptIsStoredOnce) {
  PagedCache cache({.n_layers = 1, .n_kv_heads = 1, .head_dim = 2},
                   {.n_pages = 1000, .page_size = 16});
  std::vector<Token> prompt = count_tokens(0, 1000);
  for (Token i = 0; i < 100; ++i) {
    std::vector<Token> tokens = prompt;
    tokens.push_back(5000 + i);
    const SequenceId s = cache.add_sequence(tokens);
    std::vector<Token> history(tokens.begin(), tokens.begin() + cache.length(s));
    append(cache, s, history, {tokens.begin() + cache.length(s), tokens.end()}, true);
  }
  // 62 whole pages, and the last 9 tokens of each.
  EXPECT_EQ(cache.stats().pages_used, 62 + 100);
  EXPECT_EQ(cache.stats().pages_shared, 62);
  EXPECT_EQ(cache.stats().prefix_lookups, 6200);
  EXPECT_EQ(cache.stats().prefix_hits, 99 * 62);
}

}  // namespace
}  // namespace raptly
