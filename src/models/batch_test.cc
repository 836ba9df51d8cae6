// What users do wrong with forward(): a clear error, and the cache as it was.
#include "models/batch.h"

#include <gtest/gtest.h>

#include "models/test_models.h"
#include "raptly/error.h"

namespace raptly {
namespace {

class BadBatch : public testing::Test {
 protected:
  BadBatch()
      : context_(1),
        model_(load_model(test::testdata("llama"), {}, context_)),
        cache_(model_->cache_shape(DType::kF32), 10),
        a_(cache_.add_sequence()),
        b_(cache_.add_sequence()) {
    const std::vector<std::int32_t> tokens = {1, 2, 3};
    test::forward_rows(*model_, cache_, a_, tokens, {}, context_);
  }

  void expect(const Batch& batch, std::size_t n_logits, ErrorCode code, const std::string& part) {
    std::vector<float> logits(n_logits);
    try {
      model_->forward(batch, cache_, logits, context_);
      FAIL() << "accepted: " << part;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), code) << e.what();
      EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
    }
    EXPECT_EQ(cache_.length(a_), 3);
    EXPECT_EQ(cache_.length(b_), 0);
  }

  ExecutionContext context_;
  std::unique_ptr<Model> model_;
  ContiguousCache cache_;
  SequenceId a_, b_;
  std::vector<std::int32_t> tokens_ = {4, 5, 6};
  std::vector<std::int64_t> no_rows_, one_row_ = {2};
};

TEST_F(BadBatch, Lengths) {
  const std::vector<SequenceId> both = {a_, b_};
  const std::vector<std::int64_t> two_one = {2, 1}, two = {2}, two_two = {2, 2}, minus = {4, -1};
  expect({tokens_, both, two, {}, {}}, 0, ErrorCode::kInvalidArgument, "2 sequences and 1 lengths");
  expect({tokens_, both, two_two, {}, {}}, 0, ErrorCode::kInvalidArgument,
         "add up to the 3 tokens");
  expect({tokens_, both, minus, {}, {}}, 0, ErrorCode::kInvalidArgument, "length 0 is 4");
  expect({tokens_, {&a_, 1}, two, {}, {}}, 0, ErrorCode::kInvalidArgument, "add up to 2");
  const std::vector<SequenceId> twice = {a_, a_};
  expect({tokens_, twice, two_one, {}, {}}, 0, ErrorCode::kInvalidArgument, "twice");
}

TEST_F(BadBatch, TokensRowsAndPositions) {
  const std::int64_t three = 3;
  const std::vector<std::int32_t> high = {4, 160, 6}, negative = {4, 5, -1};
  const std::vector<std::int64_t> rows = {2, 2}, beyond = {3}, positions = {1, 2},
                                  before = {0, 1, -1};
  expect({high, {&a_, 1}, {&three, 1}, {}, {}}, 0, ErrorCode::kInvalidArgument, "token 1 is 160");
  expect({negative, {&a_, 1}, {&three, 1}, {}, {}}, 0, ErrorCode::kInvalidArgument,
         "token 2 is -1");
  expect({tokens_, {&a_, 1}, {&three, 1}, {}, rows}, 320, ErrorCode::kInvalidArgument, "2 after 2");
  expect({tokens_, {&a_, 1}, {&three, 1}, {}, beyond}, 160, ErrorCode::kInvalidArgument, "has 3");
  expect({tokens_, {&a_, 1}, {&three, 1}, {}, one_row_}, 159, ErrorCode::kInvalidArgument,
         "159 elements");
  expect({tokens_, {&a_, 1}, {&three, 1}, positions, {}}, 0, ErrorCode::kInvalidArgument,
         "2 positions");
  expect({tokens_, {&a_, 1}, {&three, 1}, before, {}}, 0, ErrorCode::kInvalidArgument,
         "position is -1");
}

TEST_F(BadBatch, FullAndForeignCaches) {
  const std::vector<std::int32_t> eleven(11, 1);
  const std::vector<SequenceId> both = {b_, a_};
  const std::vector<std::int64_t> lengths = {3, 8};  // b fits, a does not: neither may grow
  expect({eleven, both, lengths, {}, {}}, 0, ErrorCode::kContextFull, "holds 3 tokens and gets 8");
  const std::int64_t three = 3;
  const SequenceId unknown = 777;
  expect({tokens_, {&unknown, 1}, {&three, 1}, {}, {}}, 0, ErrorCode::kNotFound, "777");
  ContiguousCache other(
      {.n_layers = 2, .n_kv_heads = 2, .head_dim = 16, .v_dim = 0, .dtype = DType::kF32}, 8);
  const SequenceId sequence = other.add_sequence();
  EXPECT_THROW(model_->forward({tokens_, {&sequence, 1}, {&three, 1}, {}, {}}, other, {}, context_),
               Error);
  EXPECT_EQ(other.length(sequence), 0);
}

TEST_F(BadBatch, MoreThanARollingCacheTakesAtOnce) {
  RollingCache cache(model_->cache_shape(DType::kF32), {.window = 4, .slack = 1});
  const SequenceId sequence = cache.add_sequence();
  const std::int64_t three = 3;
  const Batch batch{tokens_, {&sequence, 1}, {&three, 1}, {}, {}};
  model_->forward(batch, cache, {}, context_);
  try {
    model_->forward(batch, cache, {}, context_);
    FAIL() << "nothing was thrown";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("gets 3 tokens at once. Its cache takes 2"),
              std::string::npos)
        << e.what();
  }
  EXPECT_EQ(cache.length(sequence), 3);
}

// Keys of given positions are not what the same tokens have elsewhere.
TEST_F(BadBatch, GivenPositionsAreNotShared) {
  PagedCache cache(model_->cache_shape(DType::kF32), {.n_pages = 8, .page_size = 8});
  const std::vector<std::int32_t> tokens(9, 5);
  const std::int64_t nine = 9;
  std::vector<std::int64_t> positions(9, 3);
  for (const bool given : {true, false}) {
    const SequenceId s = cache.add_sequence();
    if (!given) positions.clear();
    model_->forward({tokens, {&s, 1}, {&nine, 1}, positions, {}}, cache, {}, context_);
    EXPECT_EQ(cache.length(cache.add_sequence(tokens)), given ? 0 : 8);
  }
}

TEST_F(BadBatch, NothingToDoIsFine) {
  const std::int64_t zero = 0;
  model_->forward({{}, {&a_, 1}, {&zero, 1}, {}, {}}, cache_, {}, context_);
  model_->forward({{}, {}, {}, {}, {}}, cache_, {}, context_);
  EXPECT_EQ(cache_.length(a_), 3);
}

}  // namespace
}  // namespace raptly
