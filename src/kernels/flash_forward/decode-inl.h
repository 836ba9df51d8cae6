// The decode driver: at most kMaxDecodeRows rows of one key head, one split of
// keys at a time. Lane = key for the scores, lane = d for the output. The
// arithmetic of a row is that of the prefill driver, value by value.
#if defined(RAPTLY_FORWARD_DECODE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RAPTLY_FORWARD_DECODE_INL_H
#undef RAPTLY_FORWARD_DECODE_INL_H
#else
#define RAPTLY_FORWARD_DECODE_INL_H
#endif

#include "base/floating_point_mode.h"
#include "kernels/flash_forward/decode_scores-inl.h"
#include "kernels/flash_forward/decode_values-inl.h"
#include "kernels/softmax_state/softcap-inl.h"
#if RAPTLY_TARGET_ENABLED
RAPTLY_BEFORE_TARGET();
namespace raptly {
namespace RAPTLY_TARGET {

std::size_t decode_workspace_bytes(int head_dim, int v_dim) {
  WorkspaceCutter cutter(nullptr);
  cut_decode_memory(head_dim, v_dim, cutter);
  return cutter.used();
}

// -inf where a row does not see a key, and from the end of the block up to
// `padded`.
inline void mask_scores(const DecodeRows& rows, const SeenBits& seen, int n, int padded,
                        float* scores) {
  for (int row = 0; row < rows.n; ++row) {
    for (int i = n; i < padded; ++i) scores[row * kBlockKeys + i] = kMinusInfinity;
  }
  if (!seen.given()) return;
  for (int i = 0; i < n; ++i) {
    if (!seen.hides(i)) continue;
    for (int row = 0; row < rows.n; ++row) {
      if (!seen.sees(row, i)) scores[row * kBlockKeys + i] = kMinusInfinity;
    }
  }
}

// Eight sums of p by ordinal mod 8, each ascending.
inline float sum_block(const float* p, int n) {
  float part[8];
#if defined(RAPTLY_SCALAR_BUILD)
  for (float& x : part) x = 0;
  for (int i = 0; i < n; i += 8) {
    for (int j = 0; j < 8; ++j) part[j] += p[i + j];
  }
#else
  constexpr hn::CappedTag<float, 8> kPart;
  constexpr int kWidth = kLanes < 8 ? kLanes : 8;
  for (int j = 0; j < 8; j += kWidth) {
    auto sum = hn::Zero(kPart);
    for (int i = j; i < n; i += 8) sum = hn::Add(sum, hn::LoadU(kPart, p + i));
    hn::StoreU(sum, kPart, part + j);
  }
#endif
  return sum_tree(part, [](float a, float b) { return a + b; });
}

// Scores of a row become p; its m, l and o follow. n: whole vectors, whole
// eights.
inline void softmax_row(const DecodeRows& rows, int row, float* s, int n) {
  Vf best = set(kMinusInfinity);
  for (int i = 0; i < n; i += kLanes) best = max(load(s + i), best);
  float highest = max_lane(best);
  if (std::fabs(highest) > kScoreLimit && highest != kMinusInfinity) {
    for (int i = 0; i < n; i += kLanes) store(clamp_scores(load(s + i)), s + i);
    highest = first_lane(clamp_scores(set(highest)));
  }
  float& m = rows.state.m[row];
  float& l = rows.state.l[row];
  if (highest > m + kRescaleThreshold) {
    const float raised = first_lane(nearest_even(set(highest)));
    const Vf factor = pow2_integer(set(m - raised));
    m = raised;
    l *= first_lane(factor);
    float* o = rows.state.o + row * rows.dv;
    for (std::int64_t c = 0; c < rows.dv; c += kLanes) store(mul(load(o + c), factor), o + c);
  }
  const Pow2Base base(set(m));
  for (int i = 0; i < n; i += kLanes) store(pow2(load(s + i), base), s + i);
  l += sum_block(s, n);
}

template <class T>
class DecodeSplit {
 public:
  DecodeSplit(const FlashForwardItem& item, const DecodeRows& rows, const DecodeMemory& memory)
      : item_(item),
        rows_(rows),
        memory_(memory),
        softcap_(item.softcap),
        keys_(item, memory.tile, tile_keys<T>(rows)),
        values_(item, memory),
        all_(~std::uint64_t{0} >> (64 - item.tiles.front().n_queries)) {}

  void run(std::int64_t split_begin) {
    each_block(
        item_, split_begin, rows_.n, memory_.scores,
        [&](const DecodeBlock& block, float* scores) {
          score_block(keys_, memory_, rows_, block, scores);
        },
        [&](const DecodeBlock& block, float* scores) { attend(block, scores); });
    values_.finish(rows_);
  }

 private:
  void attend(const DecodeBlock& block, float* scores) {
    const int n = block.n(), padded = static_cast<int>(round_up(n, std::max(8, kLanes)));
    if (softcap_.given()) cap_scores(padded, scores);
    if (item_.bias != nullptr) add_bias(block.begin, n, scores);
    const SeenBits seen{block.bits, all_, item_.group, hidden_.any() ? &hidden_ : nullptr};
    mask_scores(rows_, seen, n, padded, scores);
    for (int row = 0; row < rows_.n; ++row) {
      softmax_row(rows_, row, scores + row * kBlockKeys, padded);
    }
    values_.add_block(rows_, block.begin, block.end, scores, seen);
  }
  void cap_scores(int padded, float* scores) {
    for (int row = 0; row < rows_.n; ++row) {
      float* s = scores + row * kBlockKeys;
      for (int i = 0; i < padded; i += kLanes) store(softcap_(load(s + i)), s + i);
    }
  }

  void add_bias(std::int64_t first_key, int n, float* scores) {
    hidden_.clear();
    const KeyPositions keys(*item_.bias, first_key, n);
    for (int row = 0; row < rows_.n; ++row) {
      add_bias_to_row(*item_.bias, row_of_lane(item_, item_.tiles.front(), row), keys, row,
                      memory_.bias_values, scores + row * kBlockKeys, hidden_);
    }
  }

  const FlashForwardItem& item_;
  const DecodeRows& rows_;
  const DecodeMemory& memory_;
  Softcap softcap_;
  HiddenByBias hidden_;  // of the block at hand
  KeyTiles<T> keys_;
  DecodeValues<T> values_;
  std::uint64_t all_;  // bits of all queries
};

// Rows in passes of about the same size; q of a pass as [d][rows of the pass].
inline void plan_passes(const FlashForwardItem& item, const DecodeMemory& memory,
                        DecodeRows& rows) {
  rows.n_passes = (rows.n + kMaxPassRows - 1) / kMaxPassRows;
  int row = 0;
  for (int i = 0; i < rows.n_passes; ++i) {
    const int left = rows.n_passes - i;
    const DecodePass pass{row, (rows.n - row + left - 1) / left};
    rows.passes[i] = pass;
    for (int r = 0; r < pass.n; ++r, ++row) {
      float* q = memory.q + pass.first * rows.d + r;
      float* dense = pass.n == 1 ? q : memory.q_row;
      read_scaled_query(item, row_of_lane(item, item.tiles.front(), row), dense);
      for (std::int64_t c = item.head_dim; c < rows.d; ++c) dense[c] = 0;
      if (dense == q) continue;
      for (std::int64_t c = 0; c < rows.d; ++c) q[c * pass.n] = memory.q_row[c];
    }
  }
}

inline int decode_row_count(const FlashForwardItem& item) {
  return item.tiles.empty() ? 0 : item.tiles.front().n_queries * item.group;
}

void decode_split(const FlashForwardItem& item, std::int64_t split, float* state,
                  std::byte* workspace) noexcept {
  const FloatingPointMode mode;
  WorkspaceCutter cutter(workspace);
  const DecodeMemory memory = cut_decode_memory(item.head_dim, item.v_dim, cutter);
  DecodeRows rows;
  rows.n = decode_row_count(item);
  rows.state = decode_state(state);
  rows.d = round_up(item.head_dim, 16);
  rows.dv = round_up(item.v_dim, 16);
  for (int row = 0; row < rows.n; ++row) {
    rows.state.m[row] = -kScoreLimit;
    rows.state.l[row] = 0;
  }
  std::memset(rows.state.o, 0, static_cast<std::size_t>(rows.n * rows.dv) * sizeof(float));
  if (rows.n == 0) return;
  plan_passes(item, memory, rows);
  const std::int64_t begin = split * kSplitKeys;
  switch (item.kv->dtype) {
    case DType::kF16:
      return DecodeSplit<F16>(item, rows, memory).run(begin);
    case DType::kBf16:
      return DecodeSplit<Bf16>(item, rows, memory).run(begin);
    default:
      return DecodeSplit<float>(item, rows, memory).run(begin);
  }
}

void decode_merge(const FlashForwardItem& item, const DecodeStates& splits,
                  std::byte* workspace) noexcept {
  const FloatingPointMode mode;
  auto* total = reinterpret_cast<float*>(workspace);
  const std::int64_t dv = round_up(item.v_dim, 16);
  for (int row = 0; row < decode_row_count(item); ++row) {
    const RowOfItem place = row_of_lane(item, item.tiles.front(), row);
    Vf m = set(-kScoreLimit), l = zero();
    std::memset(total, 0, static_cast<std::size_t>(dv) * sizeof(float));
    if (item.initial.at != nullptr) {
      const float* state = state_of_row(item.initial, place);
      m = set(state[0]);
      l = set(state[1]);
      std::memcpy(total, state + 16, static_cast<std::size_t>(item.v_dim) * sizeof(float));
    }
    for (std::int64_t i = 0; i < splits.n; ++i) {
      const DecodeState<const float> state = decode_state(splits.first + i * splits.stride);
      const MergeFactors merge(m, set(state.m[row]));
      m = merge.m;
      l = merge(l, set(state.l[row]));
      const float* o = state.o + row * dv;
      for (std::int64_t c = 0; c < dv; c += kLanes) {
        store(merge(load(total + c), load(o + c)), total + c);
      }
    }
    finish_row(item, place, total, first_lane(m), first_lane(l));
  }
}

}  // namespace RAPTLY_TARGET
}  // namespace raptly
RAPTLY_AFTER_TARGET();
#endif
#endif
