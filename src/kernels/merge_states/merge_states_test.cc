// The kernel against the textbook loops, and one level against another in bits.
#include "kernels/merge_states/merge_states.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/merge_states/reference.h"

namespace raptly {
namespace {

struct Problem {
  std::int64_t q_len, n_heads, v_dim;
  std::vector<std::vector<float>> outs, lses;  // [q_len, n_heads, v_dim], [q_len, n_heads]

  Problem(std::int64_t q, std::int64_t heads, std::int64_t dims, int n_states)
      : q_len(q), n_heads(heads), v_dim(dims) {
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    const auto rows = static_cast<std::size_t>(q * heads);
    for (int s = 0; s < n_states; ++s) {
      outs.emplace_back(rows * static_cast<std::size_t>(dims));
      lses.emplace_back(rows);
      for (float& x : outs.back()) x = normal(random);
      for (float& x : lses.back()) x = 20 * normal(random);
      // The first row has no state, and one state in three lacks the last: NaN there is not read.
      lses.back().front() = -INFINITY;
      if (s % 3 == 0) lses.back().back() = -INFINITY;
      if (s % 3 == 0) outs.back().back() = NAN;
    }
  }

  struct Result {
    std::vector<float> out, lse;
  };
  template <class F>
  Result run(F&& merge) const {
    const MergeStrides out_strides{n_heads * v_dim, v_dim, 1}, lse_strides{n_heads, 1, 1};
    std::vector<MergeSource> states;
    for (std::size_t s = 0; s < outs.size(); ++s) {
      states.push_back({outs[s].data(), lses[s].data(), out_strides, lse_strides});
    }
    Result result{std::vector<float>(outs[0].size(), 7), std::vector<float>(lses[0].size(), 7)};
    MergeItem item;
    item.states = states;
    item.out = result.out.data();
    item.lse = result.lse.data();
    item.out_strides = out_strides;
    item.lse_strides = lse_strides;
    item.query_end = q_len;
    item.n_heads = n_heads;
    item.v_dim = v_dim;
    merge(item);
    return result;
  }
  Result kernel(Isa isa) const {
    std::vector<float> scratch(merge_states_workspace_floats(outs.size(), n_heads), NAN);
    return run([&](const MergeItem& item) { merge_state_rows(item, scratch.data(), isa); });
  }
};

TEST(MergeStatesKernel, AgreesWithTheReferenceAtEveryLevel) {
  for (const auto& [heads, dims] : {std::pair{1, 1}, {3, 7}, {2, 64}, {17, 33}}) {
    for (const int n_states : {1, 2, 5}) {
      const Problem p(9, heads, dims, n_states);
      const Problem::Result expected = p.run(merge_states_reference);
      for (const Isa isa : supported_isas()) {
        const Problem::Result actual = p.kernel(isa);
        for (std::size_t i = 0; i < expected.out.size(); ++i) {
          ASSERT_NEAR(actual.out[i], expected.out[i], 4e-6) << isa_name(isa) << " " << i;
        }
        ASSERT_EQ(actual.lse.front(), -INFINITY);
        ASSERT_EQ(actual.out.front(), 0);
        for (std::size_t i = 1; i < expected.lse.size(); ++i) {
          if (std::isinf(expected.lse[i])) {
            ASSERT_EQ(actual.lse[i], expected.lse[i]);
          } else {
            ASSERT_NEAR(actual.lse[i], expected.lse[i],
                        4 * 0x1p-23 * std::fmax(1, std::fabs(expected.lse[i])));
          }
        }
      }
    }
  }
}

TEST(MergeStatesKernel, LevelsEqualInBits) {
  const Problem p(31, 5, 45, 4);
  const Problem::Result first = p.kernel(supported_isas().front());
  for (const Isa isa : supported_isas()) {
    const Problem::Result other = p.kernel(isa);
    EXPECT_EQ(std::memcmp(first.out.data(), other.out.data(), first.out.size() * 4), 0);
    EXPECT_EQ(std::memcmp(first.lse.data(), other.lse.data(), first.lse.size() * 4), 0);
  }
}

}  // namespace
}  // namespace raptly
