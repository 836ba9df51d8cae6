// A row's bits depend on nothing but its own tokens: not on threads, levels, chunks, batch or
// kernel.
#include <gtest/gtest.h>

#include <cstring>
#include <ostream>

#include "models/test_models.h"

namespace raptly {
namespace {

using test::testdata;

// FNV-1a over the bits of the logits.
std::uint64_t hash(std::span<const float> x) {
  std::uint64_t h = 14695981039346656037u;
  for (const float v : x) {
    std::uint32_t bits;
    std::memcpy(&bits, &v, 4);
    for (int i = 0; i < 4; ++i) h = (h ^ (bits >> (8 * i) & 255)) * 1099511628211u;
  }
  return h;
}

struct InvarianceCase {
  const char* model;
  DType kv;
  bool exact;
  std::uint64_t golden;  // of the logits of all 150 rows, on every machine
};
void PrintTo(const InvarianceCase& c, std::ostream* out) {
  *out << c.model << " kv " << dtype_name(c.kv) << (c.exact ? " exact" : "");
}

class Invariance : public testing::TestWithParam<InvarianceCase> {
 protected:
  static constexpr std::size_t kTokens = 150;

  // Feeds the tokens in chunks of these sizes (the last repeats) and returns all logits.
  std::vector<float> run(Isa isa, int threads, const std::vector<std::size_t>& chunks) {
    ExecutionContext context(threads, isa);
    const auto model = load_model(testdata(GetParam().model), {.exact = GetParam().exact}, context);
    ContiguousCache cache(model->cache_shape(GetParam().kv), kTokens);
    return run(*model, cache, chunks, context);
  }
  std::vector<float> run(Model& model, KvCache& cache, const std::vector<std::size_t>& chunks,
                         ExecutionContext& context) {
    const std::vector<std::int32_t> tokens = test::some_tokens(kTokens, model.config().vocab_size);
    const SequenceId sequence = cache.add_sequence();
    std::vector<float> all;
    for (std::size_t begin = 0, i = 0; begin < kTokens; ++i) {
      const std::size_t n = std::min(chunks[std::min(i, chunks.size() - 1)], kTokens - begin);
      const std::vector<float> logits = test::forward_rows(
          model, cache, sequence, std::span(tokens).subspan(begin, n), test::all_rows(n), context);
      all.insert(all.end(), logits.begin(), logits.end());
      begin += n;
    }
    return all;
  }
};

TEST_P(Invariance, LevelsThreadsAndChunks) {
  for (const Isa isa : supported_isas()) {
    if (isa > Isa::kAvx512) continue;  // levels of their own
    for (const int threads : {1, 2, 5}) {
      EXPECT_EQ(hash(run(isa, threads, {kTokens})), GetParam().golden)
          << isa_name(isa) << " " << threads << " threads, one chunk";
    }
    EXPECT_EQ(hash(run(isa, 2, {1})), GetParam().golden) << isa_name(isa) << " token by token";
    EXPECT_EQ(hash(run(isa, 2, {100, 7, 1, 1, 16, 3})), GetParam().golden)
        << isa_name(isa) << " chunks";
  }
}

TEST_P(Invariance, BesideOtherSequences) {
  ExecutionContext context(2);
  const auto model = load_model(testdata(GetParam().model), {.exact = GetParam().exact}, context);
  const std::int64_t vocab_size = model->config().vocab_size;
  const std::vector<std::int32_t> tokens = test::some_tokens(kTokens, vocab_size);
  ContiguousCache cache(model->cache_shape(GetParam().kv), kTokens);
  // Before it a sequence that is already under way, after it another one of one token.
  const SequenceId before = cache.add_sequence(), ours = cache.add_sequence(),
                   after = cache.add_sequence();
  test::forward_rows(*model, cache, before, std::span(tokens).first(20), {}, context);
  std::vector<float> all;
  for (std::size_t begin = 0; begin < kTokens; begin += 75) {
    std::vector<std::int32_t> batch(tokens.rbegin(), tokens.rbegin() + 9);
    const auto part = std::span(tokens).subspan(begin, 75);
    batch.insert(batch.end(), part.begin(), part.end());
    batch.push_back(3);
    const std::vector<SequenceId> sequences = {before, ours, after};
    const std::vector<std::int64_t> lengths = {9, 75, 1};
    std::vector<std::int64_t> rows(75);
    for (std::size_t i = 0; i < 75; ++i) rows[i] = static_cast<std::int64_t>(9 + i);
    std::vector<float> logits(75 * static_cast<std::size_t>(vocab_size));
    model->forward({.tokens = batch,
                    .sequences = sequences,
                    .lengths = lengths,
                    .positions = {},
                    .logit_rows = rows},
                   cache, logits, context);
    all.insert(all.end(), logits.begin(), logits.end());
  }
  EXPECT_EQ(hash(all), GetParam().golden);
  EXPECT_EQ(cache.length(before), 38);
  EXPECT_EQ(cache.length(after), 2);
}

TEST_P(Invariance, OtherCaches) {
  ExecutionContext context(2);
  const auto model = load_model(testdata(GetParam().model), {.exact = GetParam().exact}, context);
  const CacheShape shape = model->cache_shape(GetParam().kv);
  PagedCache paged(shape, {.n_pages = 50, .page_size = 8});
  for (const std::vector<std::size_t>& chunks :
       std::vector<std::vector<std::size_t>>{{kTokens}, {100, 7, 1, 1, 16, 3}}) {
    EXPECT_EQ(hash(run(*model, paged, chunks, context)), GetParam().golden) << "paged";
  }
  EXPECT_EQ(paged.stats().pages_used, 38);
  // What a second sequence finds of the same prompt has the same bits.
  const std::vector<std::int32_t> tokens = test::some_tokens(kTokens, model->config().vocab_size);
  const SequenceId found = paged.add_sequence(tokens);
  EXPECT_EQ(paged.length(found), 144);
  const std::vector<float> last = test::forward_rows(
      *model, paged, found, std::span(tokens).subspan(144), std::vector<std::int64_t>{5}, context);
  ContiguousCache whole(shape, kTokens);
  EXPECT_EQ(hash(last), hash(test::forward_rows(*model, whole, whole.add_sequence(), tokens,
                                                std::vector<std::int64_t>{149}, context)));
  // A window as the model has it, or one that nothing leaves.
  const std::int64_t window = model->config().window;
  RollingCache rolling(shape, {.window = window == 0 ? 150 : window, .slack = 6});
  EXPECT_EQ(hash(run(*model, rolling, {7, 1, 5}, context)), GetParam().golden) << "rolling";
}

// A cache that keeps less decides what is seen, however the tokens come.
TEST_P(Invariance, ASmallerWindowIsTheSameInAnyChunks) {
  ExecutionContext context(2);
  const auto model = load_model(testdata(GetParam().model), {.exact = GetParam().exact}, context);
  RollingCache cache(model->cache_shape(GetParam().kv), {.window = 9, .slack = 20, .n_sinks = 2});
  const std::uint64_t by_ones = hash(run(*model, cache, {1}, context));
  EXPECT_EQ(by_ones, hash(run(*model, cache, {31, 21, 3}, context)));
  EXPECT_NE(by_ones, GetParam().golden);
}

TEST_P(Invariance, OnlyTheRowsAskedFor) {
  ExecutionContext context(2);
  const auto model = load_model(testdata(GetParam().model), {.exact = GetParam().exact}, context);
  const std::vector<std::int32_t> tokens = test::some_tokens(60, model->config().vocab_size);
  const auto width = static_cast<std::size_t>(model->config().vocab_size);
  ContiguousCache cache(model->cache_shape(GetParam().kv), 64);
  const std::vector<float> all =
      test::forward_rows(*model, cache, cache.add_sequence(), tokens, test::all_rows(60), context);
  const std::vector<std::int64_t> rows = {0, 7, 8, 59};
  const std::vector<float> some =
      test::forward_rows(*model, cache, cache.add_sequence(), tokens, rows, context);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(
        std::memcmp(some.data() + i * width, all.data() + static_cast<std::size_t>(rows[i]) * width,
                    width * sizeof(float)),
        0);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Models, Invariance,
    testing::Values(InvarianceCase{"quantized.gguf", DType::kF16, false, 13967833426538879514u},
                    InvarianceCase{"quantized.gguf", DType::kF32, true, 17087045101736389610u},
                    InvarianceCase{"mistral", DType::kBf16, false, 12543402902331704126u},
                    InvarianceCase{"llama", DType::kF32, false, 18309128944294372316u}));

}  // namespace
}  // namespace raptly
