// What attention promises of any mask, on random problems: a row is a function of its own query and
// the keys that it sees, and of nothing else, in bits (docs/numerics.md).
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <limits>

#include "attention/plan.h"
#include "attention/random_problem.h"
#include "raptly/merge.h"

namespace raptly {
namespace {

using namespace attention_testing;

struct Row {
  std::int64_t batch, head, query;
};

template <class Use>
void each_row(const Sizes& s, Use&& use) {
  for (std::int64_t b = 0; b < s.batch; ++b) {
    for (std::int64_t h = 0; h < s.n_heads; ++h) {
      for (std::int64_t i = 0; i < s.q_len; ++i) use(Row{b, h, i});
    }
  }
}

bool same_row(const TestProblem& a, const TestProblem& b, const Row& row) {
  const auto at = static_cast<std::size_t>(a.out.index(row.batch, row.query, row.head, 0)) * 4;
  const auto dim = static_cast<std::size_t>(a.out.shape.stride(3)) * 4;
  for (std::int64_t d = 0; d < a.sizes.v_dim; ++d) {
    const std::size_t byte = at + static_cast<std::size_t>(d) * dim;
    if (std::memcmp(&a.out.bytes[byte], &b.out.bytes[byte], 4) != 0) return false;
  }
  const auto lse = static_cast<std::size_t>(
      (row.batch * a.sizes.n_heads + row.head) * a.sizes.q_len + row.query);
  return std::memcmp(&a.lse[lse], &b.lse[lse], 4) == 0;
}

double random_value() {
  constexpr double kValues[] = {
      std::numeric_limits<double>::quiet_NaN(), INFINITY, -INFINITY, 65504.0, 0.0, -1.5};
  return kValues[number(0, 5)];
}

// Items 8 and 9 of the semantics list: whatever stands in a key or value, rows that do not see it
// keep their bits.
RC_GTEST_PROP(Properties, AKeyChangesOnlyRowsThatSeeIt, ()) {
  TestProblem before = random_masked_problem();
  const Sizes& s = before.sizes;
  TestProblem after = before;
  const std::int64_t batch = number(0, s.batch - 1), kv_head = number(0, s.n_kv_heads - 1),
                     key = number(0, s.kv_len - 1), group = s.n_heads / s.n_kv_heads;
  for (std::int64_t d = 0; d < s.head_dim; ++d) {
    after.k.set(after.k.index(batch, key, kv_head, d), random_value());
  }
  for (std::int64_t d = 0; d < s.v_dim; ++d) {
    after.v.set(after.v.index(batch, key, kv_head, d), random_value());
  }
  before.run(default_context());
  after.run(default_context());
  const SeenPairs seen(before.options.mask, s);
  each_row(s, [&](const Row& row) {
    const bool sees = row.batch == batch && row.head / group == kv_head &&
                      seen(row.batch, row.head, row.query, key);
    RC_ASSERT(sees || same_row(before, after, row));
  });
}

// NaN in a query stays in its rows.
RC_GTEST_PROP(Properties, AQueryChangesOnlyItsRow, ()) {
  TestProblem before = random_masked_problem();
  const Sizes& s = before.sizes;
  TestProblem after = before;
  const Row changed{number(0, s.batch - 1), number(0, s.n_heads - 1), number(0, s.q_len - 1)};
  for (std::int64_t d = 0; d < s.head_dim; ++d) {
    after.q.set(after.q.index(changed.batch, changed.query, changed.head, d), random_value());
  }
  before.run(default_context());
  after.run(default_context());
  each_row(s, [&](const Row& row) {
    const bool is_changed =
        row.batch == changed.batch && row.head == changed.head && row.query == changed.query;
    RC_ASSERT(is_changed || same_row(before, after, row));
  });
}

// Item 20: under causal nothing from a position on reaches the rows before it, nor does its being
// there.
RC_GTEST_PROP(Properties, TheFutureChangesNoBit, ()) {
  const Sizes sizes = random_sizes();
  TestProblem before = random_problem(sizes);
  before.options.mask =
      mask::causal() & mask_testing::random_leaf(scope_of(sizes), {.bigbird = true, .tree = false});
  const Sizes& s = before.sizes;
  TestProblem after = before;
  const std::int64_t first_query = number(0, s.q_len);
  for (std::int64_t b = 0; b < s.batch; ++b) {
    const auto first_key = std::max<std::int64_t>(0, first_query + s.kv_len - s.q_len);
    for (std::int64_t j = first_key; j < s.kv_len; ++j) {
      for (std::int64_t h = 0; h < s.n_kv_heads; ++h) {
        after.k.set(after.k.index(b, j, h, 0), random_value());
        after.v.set(after.v.index(b, j, h, s.v_dim - 1), random_value());
      }
    }
    for (std::int64_t i = first_query; i < s.q_len; ++i) {
      for (std::int64_t h = 0; h < s.n_heads; ++h) {
        after.q.set(after.q.index(b, i, h, 0), random_value());
      }
    }
  }
  before.run(default_context());
  after.run(default_context());
  each_row(s, [&](const Row& row) {
    RC_ASSERT(row.query >= first_query || same_row(before, after, row));
  });
}

// Calls of some queries of some batch entries: the same bits as all at once.
RC_GTEST_PROP(Properties, ChunksAndBatchesDoNotMatter, ()) {
  TestProblem whole = random_masked_problem();
  TestProblem parts = whole;
  whole.run(default_context());
  const SeenPairs seen(whole.options.mask, whole.sizes);
  for (Part part = whole_of(whole.sizes); part.first_batch < kBatch;
       part.first_batch += part.batch) {
    part.batch = number(1, kBatch - part.first_batch);
    for (part.first_query = 0; part.first_query < whole.sizes.q_len;
         part.first_query += part.q_len) {
      part.q_len = number(1, whole.sizes.q_len - part.first_query);
      run_part(parts, seen, part);
    }
  }
  RC_ASSERT(same_bits(whole.out, parts.out));
  RC_ASSERT(same_bits(whole.lse, parts.lse));
}

// Keys in pages of any size, in any order in memory.
RC_GTEST_PROP(Properties, PagesDoNotMatter, ()) {
  const Sizes sizes = random_sizes();
  TestProblem p(sizes, DType::kF32, DType::kF32, static_cast<unsigned>(number(0, 1000)));
  p.options.mask = mask_testing::random_mask(scope_of(sizes));
  TestProblem paged = p;
  p.run(default_context());
  const std::int64_t page = number(1, 70), n_pages = (sizes.kv_len + page - 1) / page,
                     k_row = sizes.n_kv_heads * sizes.head_dim,
                     v_row = sizes.n_kv_heads * sizes.v_dim;
  std::vector<std::vector<float>> memory;
  std::vector<std::vector<KvRun>> runs(kBatch);
  std::vector<SequenceTensors> tensors(kBatch);
  for (std::int64_t b = 0; b < kBatch; ++b) {
    auto& of = runs[static_cast<std::size_t>(b)];
    for (std::int64_t first = 0; first < sizes.kv_len; first += page) {
      const std::int64_t n = std::min(page, sizes.kv_len - first);
      const float* k = p.k.view().as<float>() + p.k.index(b, first, 0, 0);
      const float* v = p.v.view().as<float>() + p.v.index(b, first, 0, 0);
      memory.emplace_back(k, k + n * k_row);  // wherever the allocator has room
      memory.emplace_back(v, v + n * v_row);
      of.push_back(
          {memory[memory.size() - 2].data(), memory.back().data(), nullptr, nullptr, n, first});
    }
    RC_ASSERT(std::ssize(of) == n_pages);
    SequenceTensors& t = tensors[static_cast<std::size_t>(b)];
    t.q = p.q.view().as<float>() + p.q.index(b, 0, 0, 0);
    t.out = paged.out.view().as<float>() + paged.out.index(b, 0, 0, 0);
    t.lse = paged.lse.data() + b * sizes.n_heads * sizes.q_len;
    t.kv = {of, DType::kF32, k_row, sizes.head_dim, 1, v_row, sizes.v_dim, 1, sizes.kv_len};
  }
  const std::vector<SequenceGeometry> geometry(
      kBatch, {sizes.q_len, sizes.kv_len, sizes.kv_len - sizes.q_len});
  AttentionPlan plan({sizes.n_heads, sizes.n_kv_heads, sizes.head_dim, sizes.v_dim}, geometry,
                     p.options, default_context());
  plan.run(tensors, {sizes.n_heads * sizes.head_dim, sizes.head_dim, 1, sizes.n_heads * sizes.v_dim,
                     sizes.v_dim, 1, sizes.q_len, 1});
  RC_ASSERT(same_bits(p.out, paged.out));
  RC_ASSERT(same_bits(p.lse, paged.lse));
}

// Keys cut anywhere, each part attended to alone: merged, the whole to rounding.
RC_GTEST_PROP(Properties, KeysMayBeSplitAndMergedAnywhere, ()) {
  TestProblem whole = random_masked_problem();
  const Sizes& s = whole.sizes;
  RC_PRE(s.kv_len > 1);
  TestProblem low = whole, high = whole, merged = whole;
  whole.run(default_context());
  const SeenPairs seen(whole.options.mask, s);
  Part part = whole_of(s);
  part.kv_len = number(1, s.kv_len - 1);
  run_part(low, seen, part);
  part.first_key = part.kv_len;
  part.kv_len = s.kv_len - part.first_key;
  run_part(high, seen, part);
  merge_states({{low.out.view(), low.lse_view()}, {high.out.view(), high.lse_view()}},
               merged.out.view(), merged.lse_view());
  for (std::int64_t i = 0; i < whole.out.numel(); ++i) {
    RC_ASSERT(std::fabs(whole.out.get(i) - merged.out.get(i)) <= 2e-5);
  }
  for (std::size_t i = 0; i < whole.lse.size(); ++i) {
    if (std::isinf(whole.lse[i])) {
      RC_ASSERT(merged.lse[i] == whole.lse[i]);
    } else {
      RC_ASSERT(std::fabs(merged.lse[i] - whole.lse[i]) <=
                4e-6f * std::max(1.0f, std::fabs(whole.lse[i])));
    }
  }
}

}  // namespace
}  // namespace raptly
