// A random problem for the tests of the backward kernels, driven by hand, one key head after the
// other; attention/backward_pass.cc is how threads drive them.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/aligned.h"
#include "kernels/flash_backward/flash_backward.h"
#include "kernels/flash_backward/reference.h"
#include "kernels/flash_forward/forward_test_case.h"
#include "mask/predicate.h"

namespace raptly::testing {

template <class T>
struct Gradients {
  std::vector<T> dq, dk, dv;  // [tokens, heads, dim]
};

// q, k, v, what the forward pass gave for them, and a gradient of out.
class BackwardData {
 public:
  explicit BackwardData(const ForwardCase& c)
      : forward(c), dout_(c.q_len, c.n_heads, c.v_dim, c.q_dtype, c.layout) {
    RandomValues random(c.seed + 1);
    for (std::int64_t i = 0; i < c.q_len; ++i) {
      for (int h = 0; h < c.n_heads; ++h) {
        for (int d = 0; d < c.v_dim; ++d) dout_.set(i, h, d, random.normal());
      }
    }
    given_ = run_reference(forward);
  }

  // Some query heads of one key head; T: of the gradients.
  template <class T>
  FlashBackwardItem item(int first_head, int group, Gradients<T>& gradients) {
    const ForwardCase& c = forward.problem();
    forward.view();
    FlashBackwardItem item;
    FlashForwardItem& f = item.forward;
    f = forward.item(first_head / c.group());
    f.first_head = first_head;
    f.group = group;
    f.out = given_.out.data();
    f.out_token_stride = std::int64_t{c.n_heads} * c.v_dim;
    f.out_head_stride = c.v_dim;
    f.lse = given_.lse.data();
    item.dout = {dout_.memory.data(), dout_.dtype, dout_.token, dout_.head, dout_.dim};
    item.dq = rows(gradients.dq, c.q_len, c.n_heads, c.head_dim);
    item.dk = rows(gradients.dk, c.kv_len, c.n_kv_heads, c.head_dim);
    item.dv = rows(gradients.dv, c.kv_len, c.n_kv_heads, c.v_dim);
    return item;
  }

  ForwardData forward;

 private:
  template <class T>
  static GradientRows rows(std::vector<T>& of, std::int64_t tokens, int heads, int dim) {
    of.resize(static_cast<std::size_t>(tokens * heads * dim));
    return {of.data(), std::is_same_v<T, double> ? DType::kF64 : DType::kF32,
            std::int64_t{heads} * dim, dim, 1};
  }

  TestTensor dout_;
  Outputs given_;
};

inline Gradients<double> run_backward_reference(BackwardData& data) {
  const ForwardCase& c = data.forward.problem();
  const MaskPredicate sees(c.mask, c.scope());
  Gradients<double> gradients;
  for (int h = 0; h < c.n_heads; ++h) {
    flash_backward_reference(data.item(h, 1, gradients), c.q_len, std::ref(sees));
  }
  return gradients;
}

// The chunks of a plan, and which ranges of keys each sees.
class Chunks {
 public:
  Chunks(const TilePlan& plan, int group, std::int64_t range_keys) : range_keys_(range_keys) {
    for (const QueryTile& tile : plan.tiles()) {
      for (int first = 0; first < tile.n_queries * group; first += kStripLanes) {
        strips_.push_back({&tile, first, std::min(kStripLanes, tile.n_queries * group - first)});
      }
    }
  }
  std::size_t size() const { return (strips_.size() + kChunkStrips - 1) / kChunkStrips; }
  QueryChunk operator[](std::size_t c) const {
    return QueryChunk(strips_).subspan(
        c * kChunkStrips, std::min<std::size_t>(kChunkStrips, strips_.size() - c * kChunkStrips));
  }
  bool sees(std::size_t c, std::int64_t range) const {
    for (const QueryStrip& strip : (*this)[c]) {
      for (const TileSpan& span : strip.tile->spans) {
        if (span.first_key < (range + 1) * range_keys_ &&
            span.first_key + span.n_keys > range * range_keys_) {
          return true;
        }
      }
    }
    return false;
  }

 private:
  std::int64_t range_keys_;
  std::vector<QueryStrip> strips_;
};

// One key head: every range of keys, from the last chunk to the first.
inline void run_key_head(const FlashBackwardItem& item, const Chunks& chunks,
                         std::int64_t range_keys, std::byte* workspace, Isa isa) {
  const std::int64_t kv_len = item.forward.kv->length;
  const std::int64_t n_ranges = (kv_len + range_keys - 1) / range_keys;
  const auto floats = static_cast<std::size_t>(dq_sum_floats(item.forward.head_dim));
  std::vector<StripTerms> terms(chunks.size() * kChunkStrips);
  const AlignedArray<float> dq_sums(terms.size() * floats);
  std::fill_n(dq_sums.data(), dq_sums.size(), NAN);
  std::vector<std::int64_t> done(chunks.size()), wanted(chunks.size());
  for (std::size_t c = 0; c < chunks.size(); ++c) {
    for (std::int64_t r = 0; r < n_ranges; ++r) wanted[c] += chunks.sees(c, r);
    for (std::size_t s = 0; s < chunks[c].size(); ++s) {
      flash_backward_rows(item, chunks[c][s], terms[c * kChunkStrips + s], workspace, isa);
    }
    if (wanted[c] == 0) flash_backward_no_keys(item, chunks[c], workspace, isa);
  }
  for (std::int64_t r = 0; r < n_ranges; ++r) {
    const std::int64_t first = r * range_keys;
    flash_backward_begin(item, {first, std::min(range_keys, kv_len - first)}, workspace, isa);
    for (std::size_t c = chunks.size(); c-- > 0;) {
      if (!chunks.sees(c, r)) continue;
      flash_backward_chunk(item, chunks[c], &terms[c * kChunkStrips], {}, workspace, isa);
      const QueryTurn turn{dq_sums.data() + c * kChunkStrips * floats, done[c] == 0,
                           done[c] + 1 == wanted[c]};
      ++done[c];
      flash_backward_queries(item, chunks[c], turn, workspace, isa);
    }
    flash_backward_end(item, workspace, isa);
  }
}

inline Gradients<float> run_backward_kernels(BackwardData& data, Isa isa,
                                             std::int64_t range_keys = kMaxRangeKeys) {
  const ForwardCase& c = data.forward.problem();
  const TilePlan plan(c.mask, c.scope(), backward_tile_queries(c.group()));
  const Chunks chunks(plan, c.group(), range_keys);
  const std::size_t bytes = flash_backward_workspace_bytes(c.head_dim, c.v_dim, isa);
  const AlignedBytes workspace(bytes);
  std::memset(workspace.data(), 0xff, bytes);  // NaN: nothing may be read before it is written
  Gradients<float> gradients;
  for (int h = 0; h < c.n_kv_heads; ++h) {
    const FlashBackwardItem item = data.item(h * c.group(), c.group(), gradients);
    run_key_head(item, chunks, range_keys, workspace.data(), isa);
  }
  return gradients;
}

inline bool same_bits(const Gradients<float>& a, const Gradients<float>& b) {
  const auto same = [](const std::vector<float>& x, const std::vector<float>& y) {
    return x.size() == y.size() && std::equal(x.begin(), x.end(), y.begin(),
                                              [](float p, float q) { return same_bits(p, q); });
  };
  return same(a.dq, b.dq) && same(a.dk, b.dk) && same(a.dv, b.dv);
}

}  // namespace raptly::testing
