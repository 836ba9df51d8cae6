// PagedCache against a cache that any reader believes: a list of tokens for each sequence.
#include <algorithm>
#include <map>
#include <random>

#include "cache/test_cache.h"

namespace raptly {
namespace {

using namespace cache_testing;  // NOLINT: the room's own test helpers

constexpr int kSteps = 100000;
constexpr CacheShape kSmall{.n_layers = 2, .n_kv_heads = 1, .head_dim = 2, .v_dim = 1};

struct Expected {
  std::vector<Token> ids;     // what the user says
  std::vector<Token> values;  // what is stored: of known tokens a function of all ids up to there
  std::size_t known = 0;      // ids that the user told
  bool swapped = false;
};

class Walk {
 public:
  Walk(std::int64_t n_pages, std::int64_t page_size, int hash_bits, unsigned seed)
      : cache_(kSmall, {.n_pages = n_pages, .page_size = page_size, .hash_bits = hash_bits}),
        random_(seed) {}

  void step() {
    const std::uint32_t choice = below(100);
    if (sequences_.size() < 3 || choice < 12) return add();
    if (sequences_.size() > 14) return remove(pick()->first);
    auto& [id, s] = *pick();
    if (choice < 62) return grow(id, s);
    if (choice < 72) return fork(id, s);
    if (choice < 82) return truncate(id, s);
    if (choice < 88) return swap(id, s);
    remove(id);
  }

  void check_all() const {
    for (const auto& [id, s] : sequences_) {
      if (!s.swapped) check_contents(cache_, id, s.values);
    }
  }
  PagedCache& cache() { return cache_; }
  void remove_all() {
    while (!sequences_.empty()) remove(sequences_.begin()->first);
  }

  std::map<std::string, int> seen;  // what really happened

 private:
  std::uint32_t below(std::size_t n) {
    return static_cast<std::uint32_t>(random_() % static_cast<std::uint32_t>(n));
  }
  std::map<SequenceId, Expected>::iterator pick() {
    return std::next(sequences_.begin(), below(sequences_.size()));
  }

  // Few ids, so that sequences often agree for a while.
  std::vector<Token> draw_ids(std::size_t n) {
    std::vector<Token> ids;
    const Token which = static_cast<Token>(below(3));
    for (std::size_t i = 0; i < n; ++i) {
      ids.push_back(below(40) == 0 ? 100 : which);
    }
    return ids;
  }
  void push(Expected& s, const std::vector<Token>& ids, bool told) {
    const bool known = told && s.known == s.ids.size();
    for (const Token id : ids) {
      const std::uint32_t before =
          s.values.empty() ? 1u : static_cast<std::uint32_t>(s.values.back());
      s.ids.push_back(id);
      std::uint32_t value = (before * 2654435761u + static_cast<std::uint32_t>(id) * 40503u) >> 15;
      if (!known) value = static_cast<std::uint32_t>(random_());
      s.values.push_back(static_cast<Token>(value & 0x1ffff));
    }
    if (known) s.known = s.ids.size();
  }

  void add() {
    const std::vector<Token> ids = draw_ids(below(60));
    const SequenceId id = cache_.add_sequence(ids);
    const auto found = static_cast<std::size_t>(cache_.length(id));
    ASSERT_TRUE(ids.empty() ? found == 0 : found < ids.size());
    Expected& s = sequences_[id];
    push(s, {ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(found)}, true);
    if (found > 0) ++seen["prefix found"];
    check_contents(cache_, id, s.values);
  }
  void grow(SequenceId id, Expected& s) {
    // Often on from its own ids, so that prefixes arise.
    const auto n = static_cast<std::int64_t>(below(30));
    const bool told = below(8) != 0;
    const std::vector<Token> ids = draw_ids(static_cast<std::size_t>(n));
    const auto extend = [&] {
      cache_.extend({&id, 1}, {&n, 1}, told ? std::span(ids) : std::span<const Token>());
    };
    if (s.swapped) {
      EXPECT_THROW(extend(), Error);
    } else if (n > cache_.max_chunk(id)) {
      ++seen["pool exhausted"];
      if (n > 0) expect_error(ErrorCode::kContextFull, "more pages", extend);
      check_contents(cache_, id, s.values);
    } else {
      extend();
      const auto first = static_cast<std::int64_t>(s.values.size());
      push(s, ids, told);
      write_tokens(cache_, id, s.values, first);
      check_contents(cache_, id, s.values);
      ++seen["grown"];
    }
  }
  void fork(SequenceId id, const Expected& s) {
    if (s.swapped) {
      EXPECT_THROW(cache_.fork(id), Error);
      return;
    }
    const Expected copy = s;
    sequences_[cache_.fork(id)] = copy;
    ++seen["forked"];
  }
  void truncate(SequenceId id, Expected& s) {
    const std::size_t n = s.values.size() - below(std::min<std::size_t>(s.values.size(), 20) + 1);
    if (s.swapped) {
      EXPECT_THROW(cache_.truncate(id, static_cast<std::int64_t>(n)), Error);
      return;
    }
    cache_.truncate(id, static_cast<std::int64_t>(n));
    s.values.resize(n);
    s.ids.resize(n);
    s.known = std::min(s.known, n);
    check_contents(cache_, id, s.values);
  }
  void swap(SequenceId id, Expected& s) {
    if (!s.swapped) {
      cache_.swap_out(id);
      s.swapped = true;
      ++seen["swapped out"];
      return;
    }
    try {
      cache_.swap_in(id);
      s.swapped = false;
      ++seen["swapped in"];
      check_contents(cache_, id, s.values);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kContextFull);
      ++seen["no room to come back"];
    }
  }
  void remove(SequenceId id) {
    cache_.remove(id);
    sequences_.erase(id);
  }

  PagedCache cache_;
  std::mt19937 random_;
  std::map<SequenceId, Expected> sequences_;
};

struct Setting {
  std::int64_t n_pages, page_size;
  int hash_bits, steps;
};
class PagedModel : public testing::TestWithParam<Setting> {};

TEST_P(PagedModel, AnyStepsAgreeWithLists) {
  const Setting& setting = GetParam();
  Walk walk(setting.n_pages, setting.page_size, setting.hash_bits, 11);
  for (int i = 0; i < setting.steps; ++i) {
    walk.step();
    ASSERT_EQ(walk.cache().check_valid(), "") << "step " << i;
    if (i % 100 == 0) {
      walk.check_all();
      if (walk.cache().stats().pages_shared > 0) ++walk.seen["pages shared"];
    }
    if (HasFailure()) FAIL() << "step " << i;
  }
  for (const char* event : {"prefix found", "pool exhausted", "grown", "forked", "swapped out",
                            "swapped in", "no room to come back", "pages shared"}) {
    EXPECT_GT(walk.seen[event], setting.steps / 2000) << event;
  }
  walk.remove_all();
  EXPECT_EQ(walk.cache().stats().pages_used, 0);
  EXPECT_EQ(walk.cache().check_valid(), "");
}

INSTANTIATE_TEST_SUITE_P(Settings, PagedModel,
                         testing::Values(Setting{40, 8, 64, kSteps}, Setting{24, 11, 64, 20000},
                                         Setting{40, 8, 1, 20000}));

}  // namespace
}  // namespace raptly
