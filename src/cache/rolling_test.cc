#include <algorithm>
#include <random>

#include "cache/test_cache.h"

namespace raptly {
namespace {

using namespace cache_testing;  // NOLINT: the room's own test helpers

TEST(RollingCache, KeepsTheWindowAndTheSinks) {
  RollingCache cache(kShape, {.window = 6, .slack = 2, .n_sinks = 3});
  const SequenceId s = cache.add_sequence();
  std::vector<Token> history;
  EXPECT_EQ(cache.max_chunk(s), 11);  // nothing is overwritten yet
  append(cache, s, history, count_tokens(0, 11));
  check_contents(cache, s, history);
  EXPECT_EQ(cache.max_chunk(s), 3);
  EXPECT_EQ(cache.first_kept(s), 3);
  for (int i = 0; i < 50; ++i) {
    append(cache, s, history, count_tokens(static_cast<Token>(history.size()), 1 + i % 3));
    check_contents(cache, s, history);
    const KvView view = cache.view(s, 1);
    ASSERT_LE(view.runs.size(), 3u);
    ASSERT_EQ(view.runs[0].n, 3);
    ASSERT_EQ(cache.first_kept(s), cache.length(s) - 8);
  }
}

TEST(RollingCache, AppendingMovesNothing) {
  RollingCache cache(kShape, {.window = 16, .slack = 4});
  const SequenceId s = cache.add_sequence();
  std::vector<Token> history;
  append(cache, s, history, count_tokens(0, 20));
  const KvView before = cache.view(s, 0);
  const auto* base = static_cast<const float*>(before.runs[0].k);
  append(cache, s, history, count_tokens(20, 5));
  const KvView view = cache.view(s, 0);
  ASSERT_EQ(view.runs.size(), 2u);
  EXPECT_EQ(view.runs[0].k, base + 5 * view.k_token_stride);  // ordinal 5 where it was
  EXPECT_EQ(view.runs[0].first_ordinal, 5);
  EXPECT_EQ(view.runs[1].k, base);  // ordinal 20 in the place of ordinal 0
  EXPECT_EQ(view.runs[1].first_ordinal, 20);
}

TEST(RollingCache, MemoryIsConstant) {
  RollingCache cache(kShape, {.window = 10, .slack = 3, .n_sinks = 2});
  const SequenceId s = cache.add_sequence();
  const std::size_t bytes = cache.nbytes();
  EXPECT_EQ(bytes, 15u * 2 * 3 * 9 * 4);
  std::vector<Token> history;
  for (int i = 0; i < 1000; ++i) append(cache, s, history, count_tokens(i, 1));
  EXPECT_EQ(cache.nbytes(), bytes);
  EXPECT_EQ(cache.stats().bytes_wasted, 0u);
  check_contents(cache, s, history);
}

TEST(RollingCache, RollsBackAsFarAsTheWindowIsThere) {
  RollingCache cache(kShape, {.window = 8, .slack = 4, .n_sinks = 2});
  const SequenceId s = cache.add_sequence();
  std::vector<Token> history;
  append(cache, s, history, count_tokens(0, 12));
  EXPECT_EQ(cache.rollback_point(s, 5), 5);  // nothing evicted: anywhere
  for (int i = 12; i < 40; ++i) append(cache, s, history, count_tokens(i, 1));
  // Ordinals 28 .. 39 are there; a query at 35 looks back to 28.
  EXPECT_EQ(cache.rollback_point(s, 35), 35);
  EXPECT_EQ(cache.rollback_point(s, 34), 2);
  EXPECT_EQ(cache.rollback_point(s, 1), 1);
  EXPECT_EQ(cache.rollback_point(s, 99), 40);
  expect_error(ErrorCode::kInvalidArgument,
               "cannot truncate to 34 tokens: the window before them is evicted. Legal are 35 to "
               "40, and 0 to 2.",
               [&] { cache.truncate(s, 34); });
  check_contents(cache, s, history);
  cache.truncate(s, 35);
  history.resize(35);
  check_contents(cache, s, history);
  // What was evicted stays so: no second rollback.
  EXPECT_EQ(cache.rollback_point(s, 34), 2);
  append(cache, s, history, count_tokens(500, 5));
  check_contents(cache, s, history);
  EXPECT_EQ(cache.first_kept(s), 28);
  cache.truncate(s, 1);
  history.resize(1);
  check_contents(cache, s, history);
  EXPECT_EQ(cache.max_chunk(s), 13);
  append(cache, s, history, count_tokens(700, 13));
  check_contents(cache, s, history);
}

TEST(RollingCache, RefusesWhatDoesNotFit) {
  RollingCache cache(kShape, {.window = 8, .slack = 3});
  const SequenceId s = cache.add_sequence(), other = cache.add_sequence();
  std::vector<Token> history, none;
  append(cache, s, history, count_tokens(0, 11));
  const std::vector<SequenceId> both = {other, s}, twice = {s, s};
  const std::vector<std::int64_t> lengths = {1, 5}, halves = {2, 3};
  const std::string part =
      "should take 5 tokens at once. With a window of 8 and a slack of 3 it takes 4 now";
  expect_error(ErrorCode::kInvalidArgument, part, [&] { cache.extend(both, lengths); });
  expect_error(ErrorCode::kInvalidArgument, part, [&] { cache.extend(twice, halves); });
  check_contents(cache, s, history);
  check_contents(cache, other, none);
  const auto make = [](const RollingOptions& options) { RollingCache made(kShape, options); };
  expect_error(ErrorCode::kInvalidArgument, "window is 0", [&] { make({}); });
  expect_error(ErrorCode::kInvalidArgument, "slack is -1",
               [&] { make({.window = 4, .slack = -1}); });
  expect_error(ErrorCode::kInvalidArgument, "n_sinks is -2",
               [&] { make({.window = 4, .n_sinks = -2}); });
}

// Any sequence of chunks, rollbacks and forks: what a query's window needs is always there.
TEST(RollingCache, RandomStepsKeepTheWindow) {
  std::mt19937 random(5);
  for (int round = 0; round < 40; ++round) {
    const RollingOptions options{.window = 1 + static_cast<std::int64_t>(random() % 9),
                                 .slack = static_cast<std::int64_t>(random() % 6),
                                 .n_sinks = static_cast<std::int64_t>(random() % 4)};
    RollingCache cache({.n_layers = 1, .n_kv_heads = 1, .head_dim = 2}, options);
    SequenceId s = cache.add_sequence();
    std::vector<Token> history;
    for (int step = 0; step < 200; ++step) {
      const auto length = static_cast<std::int64_t>(history.size());
      if (random() % 8 == 0) {
        const auto wanted = static_cast<std::int64_t>(random() % (history.size() + 1));
        const std::int64_t n = cache.rollback_point(s, wanted);
        cache.truncate(s, n);
        history.resize(static_cast<std::size_t>(n));
      } else if (random() % 16 == 0) {
        const SequenceId copy = cache.fork(s);
        cache.remove(s);
        s = copy;
      } else {
        const auto n = 1 + static_cast<std::int64_t>(random()) % cache.max_chunk(s);
        append(cache, s, history, count_tokens(static_cast<Token>(random() % 100000), n));
        const bool all = cache.first_kept(s) <= options.n_sinks;
        ASSERT_TRUE(all || cache.first_kept(s) <= length - options.window + 1);
      }
      check_contents(cache, s, history);
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

}  // namespace
}  // namespace raptly
