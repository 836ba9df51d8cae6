#include "raptly/attention_with_cache.h"

#include <functional>
#include <limits>
#include <memory>
#include <numeric>

#include "attention/test_problem.h"
#include "raptly/error.h"
#include "raptly/kv_view.h"

namespace raptly {
namespace {

using namespace attention_testing;

constexpr std::int64_t kHeads = 4, kKvHeads = 2, kDim = 24, kValueDim = 16;
using Options = CachedAttentionOptions;

TensorView rows(const TestTensor& t, std::int64_t first, std::int64_t n) {
  const std::int64_t heads = t.shape.size(2), dim = t.shape.size(3);
  const std::int64_t sizes[] = {n, heads, dim};
  return {t.bytes.data() + static_cast<std::size_t>(first * heads * dim) * dtype_size(t.dtype),
          t.dtype, TensorShape(sizes)};
}

// A sequence with all its queries, keys and values, and what attention() makes of them.
struct Story {
  std::int64_t length;
  TestTensor q, k, v, out;
  std::vector<float> lse;  // [kHeads, length]

  Story(std::int64_t n, DType q_dtype, DType kv_dtype, unsigned seed)
      : length(n),
        q(q_dtype, {1, n, kHeads, kDim}),
        k(kv_dtype, {1, n, kKvHeads, kDim}),
        v(kv_dtype, {1, n, kKvHeads, kValueDim}),
        out(DType::kF32, {1, n, kHeads, kValueDim}),
        lse(static_cast<std::size_t>(n * kHeads)) {
    std::mt19937 random(seed);
    q.fill(random);
    k.fill(random);
    v.fill(random);
  }
  void expect(const AttentionOptions& options) {
    attention(q.view(), k.view(), v.view(), out.view(), options,
              MutableTensorView(lse.data(), {1, kHeads, length}));
  }
};

std::vector<Story> make_stories(const std::vector<std::int64_t>& lengths, DType q_dtype,
                                DType kv_dtype, const AttentionOptions& options) {
  std::vector<Story> stories;
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    stories.emplace_back(lengths[i], q_dtype, kv_dtype, static_cast<unsigned>(i + 1));
    stories.back().expect(options);
  }
  return stories;
}

// Packed rows [total] of a call, and where its results go.
struct Packed {
  std::vector<std::byte> q, k, v;
  std::int64_t total = 0;

  void add(std::vector<std::byte>& to, const TensorView& part) {
    const auto* from = part.as<std::byte>();
    to.insert(to.end(), from,
              from + static_cast<std::size_t>(part.shape().numel()) * dtype_size(part.dtype()));
  }
  void add(const Story& s, std::int64_t first, std::int64_t n) {
    add(q, rows(s.q, first, n));
    add(k, rows(s.k, first, n));
    add(v, rows(s.v, first, n));
    total += n;
  }
  static TensorView view(const std::vector<std::byte>& bytes, DType dtype,
                         std::initializer_list<std::int64_t> sizes) {
    return {bytes.data(), dtype, TensorShape(std::span(sizes.begin(), sizes.size()))};
  }
};

// Goes through stories on a cache, call by call, and compares each row with the story's.
class Teller {
 public:
  Teller(const std::vector<Story>& stories, KvCache& cache, const Options& options,
         ExecutionContext& context)
      : stories_(stories),
        cache_(cache),
        options_(options),
        context_(context),
        done_(stories.size()) {
    for (std::size_t i = 0; i < stories.size(); ++i) ids_.push_back(cache.add_sequence());
  }

  // The next rows, lengths[i] of story i; append false: the last rows are looked at again.
  void step(const std::vector<std::int64_t>& lengths, bool append = true) {
    Packed p;
    for (std::size_t i = 0; i < lengths.size(); ++i) {
      p.add(stories_[i], append ? done_[i] : done_[i] - lengths[i], lengths[i]);
    }
    const DType q_dtype = stories_[0].q.dtype, kv_dtype = stories_[0].k.dtype;
    std::vector<float> out(static_cast<std::size_t>(p.total * kHeads * kValueDim), -7.0f);
    std::vector<float> lse(static_cast<std::size_t>(p.total * kHeads), -7.0f);
    const auto keys = [&](const std::vector<std::byte>& bytes, std::int64_t dim) {
      return append ? Packed::view(bytes, kv_dtype, {p.total, kKvHeads, dim}) : TensorView();
    };
    attention_with_cache(Packed::view(p.q, q_dtype, {p.total, kHeads, kDim}), keys(p.k, kDim),
                         keys(p.v, kValueDim), {out.data(), {p.total, kHeads, kValueDim}}, cache_,
                         {.sequences = std::span(ids_).first(lengths.size()), .lengths = lengths},
                         options_, {lse.data(), {kHeads, p.total}}, context_);
    std::int64_t row = 0;
    for (std::size_t i = 0; i < lengths.size(); ++i) {
      if (append) done_[i] += lengths[i];
      for (std::int64_t r = 0; r < lengths[i]; ++r, ++row) {
        check_row(stories_[i], done_[i] - lengths[i] + r, out.data() + row * kHeads * kValueDim,
                  lse.data() + row, p.total);
      }
    }
  }

  // All to the end, in chunks drawn between 1 and `most`.
  void tell(std::int64_t most, unsigned seed) {
    std::mt19937 random(seed);
    for (bool more = true; more;) {
      more = false;
      std::vector<std::int64_t> lengths;
      for (std::size_t i = 0; i < stories_.size(); ++i) {
        const std::int64_t left = stories_[i].length - done_[i];
        lengths.push_back(
            std::min(left, 1 + static_cast<std::int64_t>(random() % static_cast<unsigned>(most))));
        more |= lengths.back() > 0;
      }
      if (more) step(lengths);
      if (testing::Test::HasFatalFailure()) return;
    }
  }

  SequenceId& id(std::size_t i) { return ids_[i]; }
  std::int64_t& done(std::size_t i) { return done_[i]; }
  int rows_checked() const { return rows_checked_; }

 private:
  void check_row(const Story& s, std::int64_t at, const float* out, const float* lse,
                 std::int64_t lse_stride) {
    ++rows_checked_;
    const auto* expected = reinterpret_cast<const float*>(s.out.bytes.data());
    ASSERT_EQ(
        std::memcmp(out, expected + at * kHeads * kValueDim, sizeof(float) * kHeads * kValueDim), 0)
        << "row " << at << " of " << s.length;
    for (std::int64_t h = 0; h < kHeads; ++h) {
      const float want = s.lse[static_cast<std::size_t>(h * s.length + at)];
      ASSERT_EQ(std::memcmp(lse + h * lse_stride, &want, sizeof want), 0) << "lse of row " << at;
    }
  }

  const std::vector<Story>& stories_;
  KvCache& cache_;
  const Options& options_;
  ExecutionContext& context_;
  std::vector<SequenceId> ids_;
  std::vector<std::int64_t> done_;
  int rows_checked_ = 0;
};

CacheShape cache_shape(DType dtype) {
  return {.n_kv_heads = kKvHeads, .head_dim = kDim, .v_dim = kValueDim, .dtype = dtype};
}

// Pages in no order: sequences that grew by turns leave theirs behind, full of NaN.
std::unique_ptr<PagedCache> shuffled(DType dtype, std::int64_t page_size) {
  const std::int64_t n_pages = 6000 / page_size + 40;
  auto cache = std::make_unique<PagedCache>(
      cache_shape(dtype), PagedOptions{.n_pages = n_pages, .page_size = page_size});
  std::vector<SequenceId> ids;
  for (int i = 0; i < 5; ++i) ids.push_back(cache->add_sequence());
  const std::vector<float> nan(static_cast<std::size_t>(page_size * kKvHeads * kDim),
                               std::numeric_limits<float>::quiet_NaN());
  for (std::int64_t i = 0; i < n_pages; ++i) {
    const SequenceId s = ids[static_cast<std::size_t>(i * i) % ids.size()];
    cache->extend({&s, 1}, {&page_size, 1});
    cache->write(s, 0, cache->length(s) - page_size, page_size, nan.data(), kKvHeads * kDim,
                 nan.data(), kKvHeads * kValueDim);
  }
  for (const std::size_t i : {3u, 0u, 4u, 1u, 2u}) cache->remove(ids[i]);
  return cache;
}

std::vector<std::unique_ptr<KvCache>> all_caches(DType dtype) {
  std::vector<std::unique_ptr<KvCache>> caches;
  caches.push_back(std::make_unique<ContiguousCache>(cache_shape(dtype), 1600));
  caches.push_back(
      std::make_unique<RollingCache>(cache_shape(dtype), RollingOptions{.window = 1600}));
  for (const std::int64_t page_size : {8, 16, 37, 256}) {
    caches.push_back(shuffled(dtype, page_size));
  }
  return caches;
}

const std::vector<std::int64_t> kLengths = {1, 9, 130, 300, 1500};

struct Dtypes {
  DType q, kv;
};
class WithCache : public testing::TestWithParam<Dtypes> {};
INSTANTIATE_TEST_SUITE_P(Dtypes, WithCache,
                         testing::Values(Dtypes{DType::kF32, DType::kF32},
                                         Dtypes{DType::kF32, DType::kBf16},
                                         Dtypes{DType::kBf16, DType::kBf16},
                                         Dtypes{DType::kF16, DType::kF16}));

TEST_P(WithCache, AnyCacheInAnyChunksHasTheBitsOfAttention) {
  ExecutionContext context(2);
  const Options options;
  const auto stories = make_stories(kLengths, GetParam().q, GetParam().kv, options);
  for (const std::int64_t most : {1500, 77, 9}) {
    for (const auto& cache : all_caches(GetParam().kv)) {
      Teller teller(stories, *cache, options, context);
      teller.tell(most, 3);
      EXPECT_EQ(teller.rows_checked(), 1940);
      teller.step({1, 0, 20, 3, 40}, false);  // only looks
      if (HasFatalFailure()) FAIL() << "at most " << most << " at once";
    }
  }
}

TEST_P(WithCache, MasksBiasesSoftcapAndSinks) {
  ExecutionContext context(2);
  std::vector<Options> all(6);
  all[0].mask = Mask::parse("causal & window(100, 0)");
  all[1].mask = Mask::parse("causal & chunked(64)");
  all[1].softcap = 5.0f;
  all[2].bias = bias::alibi(bias::alibi_slopes(kHeads));
  all[2].scale = 0.3f;
  const std::vector<float> sinks = {0.5f, -1, 2, 0};
  all[3].sinks = TensorView(sinks.data(), {kHeads});
  all[3].mask = Mask::parse("causal & (window(20, 0) | global_tokens([0, 3, 200]))");
  std::vector<float> table(static_cast<std::size_t>(kHeads * 15));
  std::iota(table.begin(), table.end(), -20.0f);
  all[4].bias = bias::relative(TensorView(table.data(), {kHeads, 15}));
  all[5].mask = Mask::parse("causal & ~dilated(3, 2)");
  for (const Options& options : all) {
    const auto stories = make_stories({40, 333, 1100}, GetParam().q, GetParam().kv, options);
    const auto paged = shuffled(GetParam().kv, 16);
    Teller teller(stories, *paged, options, context);
    teller.tell(150, 5);
    if (HasFatalFailure()) FAIL() << options.mask.to_string();
  }
}

// The window of a rolling cache is a mask: chunks, wraps and rollbacks do not show.
TEST_P(WithCache, RollingIsMaskedFullAttention) {
  ExecutionContext context(2);
  struct Setting {
    RollingOptions options;
    const char* mask;
  };
  for (const Setting& setting :
       {Setting{{.window = 100, .slack = 63}, "causal & window(99, None)"},
        Setting{{.window = 128, .slack = 40, .n_sinks = 4},
                "causal & (window(127, None) | global_tokens([0, 1, 2, 3]))"},
        Setting{{.window = 1, .slack = 0}, "causal & window(0, None)"}}) {
    AttentionOptions masked;
    masked.mask = Mask::parse(setting.mask);
    const auto stories = make_stories(kLengths, GetParam().q, GetParam().kv, masked);
    RollingCache cache(cache_shape(GetParam().kv), setting.options);
    const Options options;  // causal
    Teller teller(stories, cache, options, context);
    teller.tell(setting.options.slack + 1, 8);
    EXPECT_EQ(teller.rows_checked(), 1940);
    // Rolled back as far as is legal, and on again.
    const std::int64_t back = setting.options.slack + 1;
    cache.truncate(teller.id(4), 1500 - back);
    teller.done(4) -= back;
    teller.tell(setting.options.slack + 1, 9);
    teller.step({0, 0, 0, 0, 1}, false);
    if (HasFatalFailure()) FAIL() << setting.mask;
  }
}

TEST_P(WithCache, ThreadsDoNotMatter) {
  const Options options;
  const auto stories = make_stories({5, 700}, GetParam().q, GetParam().kv, options);
  for (const int threads : {1, 2, 7}) {
    ExecutionContext context(threads);
    const auto cache = shuffled(GetParam().kv, 16);
    Teller teller(stories, *cache, options, context);
    teller.tell(350, 4);
  }
}

TEST(AttentionWithCache, OneOfSixtyFourIsAsAlone) {
  ExecutionContext context(2);
  const Options options;
  std::vector<std::int64_t> lengths;
  for (std::int64_t i = 0; i < 64; ++i) lengths.push_back(1 + i * 37 % 90);
  const auto stories = make_stories(lengths, DType::kF32, DType::kF32, options);
  const auto cache = shuffled(DType::kF32, 8);
  Teller teller(stories, *cache, options, context);
  teller.tell(40, 6);
  EXPECT_EQ(teller.rows_checked(), std::accumulate(lengths.begin(), lengths.end(), 0));
  EXPECT_EQ(cache->check_valid(), "");
}

TEST(AttentionWithCache, ForksSwapsAndSharedPrefixesKeepTheBits) {
  ExecutionContext context(2);
  const Options options;
  const auto stories = make_stories({700}, DType::kF32, DType::kF16, options);
  PagedCache cache(cache_shape(DType::kF16), {.n_pages = 200, .page_size = 16});
  Teller teller(stories, cache, options, context);
  teller.step({333});
  // A fork that goes astray does not disturb its parent, and the parent's fork goes on as it would.
  const SequenceId astray = cache.fork(teller.id(0));
  const std::int64_t n = 50;
  cache.extend({&astray, 1}, {&n, 1});
  const std::vector<float> other(50 * kKvHeads * kDim, 9.0f);
  cache.write(astray, 0, 333, n, other.data(), kKvHeads * kDim, other.data(), kKvHeads * kValueDim);
  teller.step({20});
  const SequenceId parent = teller.id(0);
  teller.id(0) = cache.fork(parent);
  cache.remove(parent);
  teller.step({7});
  cache.swap_out(teller.id(0));
  cache.remove(astray);
  cache.swap_in(teller.id(0));
  teller.tell(90, 2);
  ASSERT_EQ(cache.length(teller.id(0)), 700);

  // The same prompt again, its keys taken from the pool.
  std::vector<std::int32_t> tokens(700);
  std::iota(tokens.begin(), tokens.end(), 10);
  Teller donor(stories, cache, options, context);
  const std::int64_t all = 700;
  cache.extend({&donor.id(0), 1}, {&all, 1}, tokens);
  std::vector<float> k, v;
  for (std::int64_t i = 0; i < stories[0].k.numel(); ++i)
    k.push_back(static_cast<float>(stories[0].k.get(i)));
  for (std::int64_t i = 0; i < stories[0].v.numel(); ++i)
    v.push_back(static_cast<float>(stories[0].v.get(i)));
  cache.write(donor.id(0), 0, 0, all, k.data(), kKvHeads * kDim, v.data(), kKvHeads * kValueDim);
  Teller sharer(stories, cache, options, context);
  sharer.id(0) = cache.add_sequence(std::span(tokens).first(500));
  sharer.done(0) = cache.length(sharer.id(0));
  EXPECT_EQ(sharer.done(0), 496);
  sharer.tell(64, 1);
  EXPECT_EQ(cache.check_valid(), "");
}

// Drafted tokens are verified in one call and rolled back to those that were accepted.
TEST(AttentionWithCache, VerifiesATreeOfDrafts) {
  ExecutionContext context(2);
  const std::vector<std::int64_t> parents = {-1, 0, 0, 1, 2, 2};
  Options draft;
  draft.mask = mask::tree(parents);
  Story story(206, DType::kF32, DType::kF32, 4);
  TestTensor out(DType::kF32, {1, 6, kHeads, kValueDim});
  attention({rows(story.q, 200, 6).as<float>(), {1, 6, kHeads, kDim}}, story.k.view(),
            story.v.view(), out.view(), draft);
  story.expect(Options());
  const std::vector<Story> stories = {story};
  PagedCache cache(cache_shape(DType::kF32), {.n_pages = 40, .page_size = 16});
  const Options options;
  Teller teller(stories, cache, options, context);
  teller.step({200});
  std::vector<float> got(6 * kHeads * kValueDim);
  const std::vector<std::int64_t> six = {6};
  attention_with_cache(rows(story.q, 200, 6), rows(story.k, 200, 6), rows(story.v, 200, 6),
                       {got.data(), {6, kHeads, kValueDim}}, cache,
                       {.sequences = {&teller.id(0), 1}, .lengths = six}, draft, {}, context);
  EXPECT_EQ(std::memcmp(got.data(), out.bytes.data(), out.bytes.size()), 0);
  cache.truncate(teller.id(0), 201);
  teller.done(0) = 201;
  teller.tell(3, 1);
}

// k and v of other dtypes and strides are stored as if they had been f32 rows.
TEST(AttentionWithCache, ReadsKeysThroughAnyDtypeAndStrides) {
  ExecutionContext context(2);
  const Options options;
  auto stories = make_stories({60}, DType::kF32, DType::kF16, options);
  const Story& s = stories[0];
  ContiguousCache cache(cache_shape(DType::kF16), 60);
  const SequenceId id = cache.add_sequence();
  // [heads, dim, rows] in memory.
  std::vector<float> k(static_cast<std::size_t>(s.k.numel()));
  for (std::int64_t t = 0; t < 60; ++t)
    for (std::int64_t h = 0; h < kKvHeads; ++h)
      for (std::int64_t d = 0; d < kDim; ++d)
        k[static_cast<std::size_t>((h * kDim + d) * 60 + t)] =
            static_cast<float>(s.k.get(s.k.index(0, t, h, d)));
  const std::vector<std::int64_t> sizes = {60, kKvHeads, kDim}, strides = {1, kDim * 60, 60};
  std::vector<float> out(60 * kHeads * kValueDim);
  const std::vector<std::int64_t> lengths = {60};
  attention_with_cache(rows(s.q, 0, 60), {k.data(), DType::kF32, TensorShape(sizes, strides)},
                       rows(s.v, 0, 60), {out.data(), {60, kHeads, kValueDim}}, cache,
                       {.sequences = {&id, 1}, .lengths = lengths}, options, {}, context);
  EXPECT_EQ(std::memcmp(out.data(), s.out.bytes.data(), s.out.bytes.size()), 0);
}

TEST(AttentionWithCache, LayersShareTheTokens) {
  ExecutionContext context(2);
  const Options options;
  const std::vector<Story> layers = make_stories({50, 50}, DType::kF32, DType::kF32, options);
  CacheShape shape = cache_shape(DType::kF32);
  shape.n_layers = 2;
  PagedCache cache(shape, {.n_pages = 20, .page_size = 8});
  const SequenceId id = cache.add_sequence();
  for (const auto& [first, n] : {std::pair<std::int64_t, std::int64_t>{0, 43}, {43, 7}}) {
    for (std::int64_t layer = 0; layer < 2; ++layer) {
      const Story& s = layers[static_cast<std::size_t>(layer)];
      std::vector<float> out(static_cast<std::size_t>(n * kHeads * kValueDim));
      attention_with_cache(rows(s.q, first, n), rows(s.k, first, n), rows(s.v, first, n),
                           {out.data(), {n, kHeads, kValueDim}}, cache,
                           {.sequences = {&id, 1}, .lengths = {&n, 1}, .layer = layer}, options, {},
                           context);
      EXPECT_EQ(std::memcmp(out.data(), rows(s.out, first, n).data(), out.size() * 4), 0);
    }
    EXPECT_EQ(cache.length(id), first + n);
  }
}

void expect_error(ErrorCode code, const std::string& part, const std::function<void()>& call) {
  try {
    call();
    ADD_FAILURE() << "nothing was thrown: " << part;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

class Refusals : public testing::Test {
 protected:
  // A call of 3 rows on the cache.
  void call(KvCache& cache, std::vector<SequenceId> ids, std::vector<std::int64_t> lengths,
            const Options& options = {}) {
    attention_with_cache(q_, k_, v_, out_view_, cache,
                         {.sequences = ids, .lengths = lengths, .layer = layer_, .tokens = tokens_},
                         options);
  }

  Story story_{3, DType::kF32, DType::kF32, 1};
  TensorView q_ = rows(story_.q, 0, 3), k_ = rows(story_.k, 0, 3), v_ = rows(story_.v, 0, 3);
  std::vector<float> out_ = std::vector<float>(3 * kHeads * kValueDim, 5.0f);
  MutableTensorView out_view_{out_.data(), {3, kHeads, kValueDim}};
  std::int64_t layer_ = 0;
  std::vector<std::int32_t> tokens_;
};

TEST_F(Refusals, NothingIsStoredOrWritten) {
  ContiguousCache cache(cache_shape(DType::kF32), 8);
  const SequenceId a = cache.add_sequence(), b = cache.add_sequence();
  call(cache, {a}, {3});
  call(cache, {a}, {3});
  std::fill(out_.begin(), out_.end(), 5.0f);
  const auto refuses = [&](ErrorCode code, const char* part, auto... arguments) {
    expect_error(code, part, [&] { call(cache, arguments...); });
    EXPECT_EQ(cache.length(a), 6);
    EXPECT_EQ(cache.length(b), 0);
    EXPECT_EQ(std::count(out_.begin(), out_.end(), 5.0f), std::ssize(out_));
  };
  using Ids = std::vector<SequenceId>;
  using Lengths = std::vector<std::int64_t>;
  refuses(ErrorCode::kContextFull, "holds 6 tokens and should take 3 more", Ids{a}, Lengths{3});
  refuses(ErrorCode::kNotFound, "sequence 9", Ids{b, 9}, Lengths{1, 2});
  refuses(ErrorCode::kInvalidArgument, "sequence 1 is in the batch twice", Ids{b, b},
          Lengths{1, 2});
  refuses(ErrorCode::kInvalidArgument, "the lengths add up to 2. q has 3 rows", Ids{b}, Lengths{2});
  refuses(ErrorCode::kInvalidArgument, "a length is 4", Ids{b}, Lengths{4});
  refuses(ErrorCode::kInvalidArgument, "a length is -1", Ids{a, b}, Lengths{-1, 4});
  refuses(ErrorCode::kInvalidArgument, "1 sequences but 2 lengths", Ids{b}, Lengths{1, 2});
  layer_ = 1;
  refuses(ErrorCode::kInvalidArgument, "layer is 1. The cache has 1 layers", Ids{b}, Lengths{3});
  layer_ = 0;
  tokens_ = {1, 2};
  refuses(ErrorCode::kInvalidArgument, "2 tokens for 3 rows", Ids{b}, Lengths{3});
  tokens_.clear();
  Options options;
  options.softcap = -1.0f;
  refuses(ErrorCode::kInvalidArgument, "softcap is -1", Ids{b}, Lengths{3}, options);
  v_ = TensorView();
  refuses(ErrorCode::kInvalidArgument, "k and v: one is given", Ids{b}, Lengths{3});
  v_ = rows(story_.k, 0, 3);
  refuses(ErrorCode::kInvalidArgument, "v_dim of v is 24, v_dim of the cache is 16", Ids{b},
          Lengths{3});
  v_ = rows(story_.v, 0, 2);
  refuses(ErrorCode::kInvalidArgument, "rows of v is 2", Ids{b}, Lengths{3});
  v_ = rows(story_.v, 0, 3);
  const std::vector<double> wide(3 * kHeads * kDim);
  q_ = TensorView(wide.data(), {3, kHeads, kDim});
  refuses(ErrorCode::kTypeMismatch, "q is f64", Ids{b}, Lengths{3});
  q_ = TensorView(out_.data(), {3, kHeads, kDim});
  refuses(ErrorCode::kInvalidArgument, "out and q overlap", Ids{b}, Lengths{3});
}

TEST_F(Refusals, WhatARollingCacheHasNot) {
  RollingCache cache(cache_shape(DType::kF32), {.window = 4, .slack = 2});
  const SequenceId a = cache.add_sequence();
  for (int i = 0; i < 4; ++i) call(cache, {a}, {3});
  Options options;
  options.mask = mask::packed({0, 3});
  expect_error(ErrorCode::kInvalidArgument, "which says where tokens stand",
               [&] { call(cache, {a}, {3}, options); });
  cache.truncate(a, 9);
  k_ = v_ = TensorView();
  expect_error(ErrorCode::kInvalidArgument,
               "the last 3 rows of sequence 0 look back to tokens that the cache no longer keeps. "
               "With its window of 4 it can be asked for the last 0",
               [&] { call(cache, {a}, {3}); });
  EXPECT_EQ(cache.length(a), 9);
}

}  // namespace
}  // namespace raptly
