// Strides that run backwards or stand still, in both drivers: the bits of dense rows.
#include <gtest/gtest.h>

#include <algorithm>

#include "kernels/flash_forward/forward_test_case.h"

namespace raptly::testing {
namespace {

// Memory the other way round: the first element is the last, and every stride is negative.
class Backwards {
 public:
  explicit Backwards(const TestTensor& t) : size_(dtype_size(t.dtype)), memory_(t.memory.size()) {
    for (std::size_t at = 0; at < memory_.size(); at += size_) {
      std::copy_n(t.memory.data() + at, size_, memory_.data() + memory_.size() - size_ - at);
    }
  }
  const std::byte* first() const { return memory_.data() + memory_.size() - size_; }

 private:
  std::size_t size_;
  std::vector<std::byte> memory_;
};

// The item with q, keys and values read backwards.
class BackwardsView {
 public:
  explicit BackwardsView(const ForwardData& data)
      : q_(data.q), k_(data.k), v_(data.v), run_{k_.first(), v_.first(), nullptr, nullptr, 0, 0} {}

  FlashForwardItem operator()(FlashForwardItem item) {
    const KvView& kv = *item.kv;
    run_.n = kv.length;
    view_ = {{&run_, 1},        kv.dtype,         -kv.k_token_stride,
             -kv.k_head_stride, -kv.k_dim_stride, -kv.v_token_stride,
             -kv.v_head_stride, -kv.v_dim_stride, kv.length};
    item.kv = &view_;
    item.q = q_.first();
    item.q_token_stride = -item.q_token_stride;
    item.q_head_stride = -item.q_head_stride;
    item.q_dim_stride = -item.q_dim_stride;
    return item;
  }

 private:
  Backwards q_, k_, v_;
  KvRun run_;
  KvView view_;
};

// prefill or decode of one item, as edited.
template <class Edit>
Outputs run_edited(ForwardData& data, Isa isa, bool decode, Edit&& edit) {
  const ForwardCase& c = data.problem();
  const int queries =
      decode ? kMaxDecodeRows / c.group() : flash_forward_tile_queries(c.group(), isa);
  const TilePlan plan(c.mask, c.scope(), queries);
  const FlashForwardSize size = size_of(c, std::ssize(plan.tiles()), queries);
  const AlignedBytes workspace(
      std::max(flash_forward_workspace_bytes(size, isa), flash_decode_workspace_bytes(size, isa)));
  const AlignedArray<float> state(flash_decode_state_floats(kMaxDecodeRows, c.v_dim));
  return collect(data, [&](const FlashForwardItem& dense) {
    FlashForwardItem item = edit(dense);
    item.tiles = plan.tiles();
    if (!decode) return flash_forward(item, workspace.data(), isa);
    flash_decode_split(item, 0, state.data(), workspace.data(), isa);
    flash_decode_merge(item, {state.data(), 1, static_cast<std::int64_t>(state.size())},
                       workspace.data(), isa);
  });
}

class ForwardStrides : public ::testing::TestWithParam<Dtypes> {
 protected:
  // One tile of decode, one split.
  static ForwardCase problem(Layout layout) {
    ForwardCase c;
    c.q_len = 5, c.kv_len = 300, c.n_heads = 6, c.n_kv_heads = 2, c.head_dim = 37, c.v_dim = 21;
    c.mask = Mask::parse("causal & window(200, 0)");
    c.q_dtype = GetParam().q, c.kv_dtype = GetParam().kv;
    c.layout = layout;
    return c;
  }
};

TEST_P(ForwardStrides, MayBeNegative) {
  for (const Layout layout : {Layout::kTokenMajor, Layout::kHeadMajor, Layout::kSparse}) {
    ForwardData data(problem(layout));
    BackwardsView backwards(data);
    for (const Isa isa : supported_isas()) {
      for (const bool decode : {false, true}) {
        const Outputs dense = decode ? run_decode(data, isa) : run_prefill(data, isa);
        EXPECT_EQ(count_different(dense, run_edited(data, isa, decode, backwards)), 0)
            << isa_name(isa) << (decode ? " decode" : " prefill");
      }
    }
  }
}

TEST_P(ForwardStrides, MayBeZero) {
  ForwardData data(problem(Layout::kTokenMajor));
  for (std::int64_t j = 0; j < 300; ++j) {
    for (int h = 0; h < 2; ++h) {
      for (int d = 0; d < 37; ++d) data.k.set(j, h, d, data.k.value(0, 0, d));
      for (int d = 0; d < 21; ++d) data.v.set(j, h, d, data.v.value(j, 0, 0));
    }
  }
  for (std::int64_t i = 0; i < 5; ++i) {
    for (int h = 0; h < 6; ++h) {
      for (int d = 0; d < 37; ++d) data.q.set(i, h, d, data.q.value(0, h, d));
    }
  }
  for (const Isa isa : supported_isas()) {
    for (const bool decode : {false, true}) {
      const Outputs dense = decode ? run_decode(data, isa) : run_prefill(data, isa);
      KvView repeated;
      const Outputs still = run_edited(data, isa, decode, [&](FlashForwardItem item) {
        repeated = *item.kv;
        repeated.k_token_stride = repeated.k_head_stride = 0;  // one key
        repeated.v_head_stride = repeated.v_dim_stride = 0;    // one number a value
        item.kv = &repeated;
        item.q_token_stride = 0;
        return item;
      });
      EXPECT_EQ(count_different(dense, still), 0)
          << isa_name(isa) << (decode ? " decode" : " prefill");
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, ForwardStrides, ::testing::ValuesIn(kTestDtypes));

}  // namespace
}  // namespace raptly::testing
