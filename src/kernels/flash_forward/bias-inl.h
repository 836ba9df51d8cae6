// The bias of scores in log2 units: s = fma(value, factor, s), one rounding, for every kind:
//   kDistance  value = |query position - key position|, factor = -(slope * log2 e) of the head
//   kOffset    value = the table's entry                factor = log2 e
//   kDense     value = the element, widened             factor = log2 e
// Here the values of one row: all that decode needs. panel_bias-inl.h has the lanes of prefill.
#if defined(RAPTLY_FORWARD_BIAS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RAPTLY_FORWARD_BIAS_INL_H
#undef RAPTLY_FORWARD_BIAS_INL_H
#else
#define RAPTLY_FORWARD_BIAS_INL_H
#endif

#include <array>
#include <span>

#include "kernels/flash_forward/panel-inl.h"
#include "kernels/flash_forward/rows-inl.h"
#include "kernels/softmax_state/softmax_state-inl.h"
#include "mask/bias_terms.h"
#include "mask/placement.h"
#if RAPTLY_TARGET_ENABLED
RAPTLY_BEFORE_TARGET();
namespace raptly {
namespace RAPTLY_TARGET {

inline float bias_factor(const ScoreBias& bias, std::int64_t head) {
  return bias.kind == BiasKind::kDistance ? -(bias.slopes[head] * kLog2E) : kLog2E;
}

// Whole numbers up to here are exact in f32, and so is a difference of two but for its own
// rounding.
constexpr std::int64_t kExactPositions = std::int64_t{1} << 24;

// 0, 1, 2, ...
inline const float* steps() {
  static constexpr auto kSteps = [] {
    std::array<float, kBlockKeys> list{};
    for (std::size_t i = 0; i < list.size(); ++i) list[i] = static_cast<float>(i);
    return list;
  }();
  return kSteps.data();
}

// Where the keys [first_key, first_key + n) of a block stand, n <= kBlockKeys.
struct KeyPositions {
  std::int64_t first_key, first;  // first: position of first_key
  int n;
  bool on_line;                   // each a position behind the one before it
  std::int64_t list[kBlockKeys];  // else

  KeyPositions(const ScoreBias& bias, std::int64_t key, int n_keys) : first_key(key), n(n_keys) {
    const mask_detail::Placement* placement = bias.scope.placement;
    on_line =
        bias.kind == BiasKind::kDense || placement == nullptr || placement->key_line(key, n) == n;
    first = bias.kind == BiasKind::kDense ? key : mask_detail::key_position(bias.scope, key);
    if (!on_line) {
      placement->list_key_positions(key, std::span(list, static_cast<std::size_t>(n)));
    }
  }
  std::int64_t operator[](int i) const { return on_line ? first + i : list[i]; }
};

// out[i] = |offset + i|, rounded to f32.
inline void fill_distances_on_line(std::int64_t offset, int n, float* out) {
  if (std::abs(offset) + n <= kExactPositions) {
    const Vf from = set(static_cast<float>(offset));
    for (int i = 0; i < n; i += kLanes) store(abs(add(from, load(steps() + i))), out + i);
    return;
  }
  for (int i = 0; i < n; ++i) out[i] = static_cast<float>(std::abs(offset + i));
}

// offset: of the first key from the query. Where all keys are beyond an end of the table, those
// nearest to the end have the same entry.
inline const float* table_on_line(const ScoreBias& bias, std::int64_t head, std::int64_t offset,
                                  int n) {
  offset = std::clamp(offset, -bias.reach - n, bias.reach + 1);
  return bias.by_key + head * bias.table_row + bias_detail::kTablePad + bias.reach + offset;
}

// Elements of one row; true if some are beyond the limit, or -inf: most have none, and then neither
// they nor their scores need a second look.
template <class T>
bool fill_elements(const T* from, std::int64_t stride, int n, float* out) {
  Vf largest = zero();
  int i = 0;
  for (; stride == 1 && i + kLanes <= n; i += kLanes) {
    const Vf x = load(from + i);
    store(x, out + i);
    largest = max(abs(x), largest);
  }
  widen_row(from + i * stride, stride, n - i, out + i);
  for (; i < n; i += kLanes) largest = max(abs(load(out + i)), largest);
  if (!any(gt(largest, set(kScoreLimit)))) return false;
  for (i = 0; i < n; i += kLanes) store(clamp_scores(load(out + i)), out + i);
  return true;
}

inline bool fill_dense(const ScoreBias& bias, const RowOfItem& row, const KeyPositions& keys,
                       float* out) {
  const std::int64_t at = row.head * bias.head_stride + row.query * bias.query_stride +
                          keys.first_key * bias.key_stride;
  switch (bias.dtype) {
    case DType::kF16:
      return fill_elements(static_cast<const F16*>(bias.data) + at, bias.key_stride, keys.n, out);
    case DType::kBf16:
      return fill_elements(static_cast<const Bf16*>(bias.data) + at, bias.key_stride, keys.n, out);
    default:
      return fill_elements(static_cast<const float*>(bias.data) + at, bias.key_stride, keys.n, out);
  }
}

inline void fill_offsets(const ScoreBias& bias, const RowOfItem& row, const KeyPositions& keys,
                         float* out) {
  const std::int64_t query = mask_detail::query_position(bias.scope, row.query);
  if (bias.kind == BiasKind::kDistance) {
    if (keys.on_line) return fill_distances_on_line(keys.first - query, keys.n, out);
    for (int i = 0; i < keys.n; ++i) out[i] = static_cast<float>(std::abs(keys.list[i] - query));
    return;
  }
  if (keys.on_line) {
    const float* entries = table_on_line(bias, row.head, keys.first - query, keys.n);
    std::memcpy(out, entries, static_cast<std::size_t>(keys.n) * sizeof(float));
    return;
  }
  const float* middle =
      bias.by_key + row.head * bias.table_row + bias_detail::kTablePad + bias.reach;
  for (int i = 0; i < keys.n; ++i) {
    out[i] = middle[std::clamp(keys.list[i] - query, -bias.reach, bias.reach)];
  }
}

// The values of a row over some keys: out [kBlockKeys], finite from n up to a multiple of 8 and of
// kLanes. True if some may be -inf.
inline bool fill_bias_values(const ScoreBias& bias, const RowOfItem& row, const KeyPositions& keys,
                             float* out) {
  for (int i = keys.n & ~7; i < round_up(keys.n, std::max(8, kLanes)); ++i) out[i] = 0;
  if (bias.kind == BiasKind::kDense) return fill_dense(bias, row, keys, out);
  fill_offsets(bias, row, keys, out);
  return false;
}

// s + bias; -inf hides whatever s is.
RAPTLY_INLINE Vf biased(Vf s, Vf value, Vf factor) {
  return select(eq(value, set(kMinusInfinity)), value, fma(value, factor, s));
}

// Keys of a block that a bias of -inf hides from each row of decode; the last "row" is their union.
class HiddenByBias {
 public:
  void clear() {
    any_ = false;
    std::memset(words_, 0, sizeof(words_));
  }
  void add(int row, int key) {
    any_ = true;
    for (const int r : {row, kMaxDecodeRows}) words_[r][key / 64] |= std::uint64_t{1} << key % 64;
  }
  bool any() const { return any_; }
  bool hides(int row, std::int64_t key) const {
    return (words_[row][key / 64] >> key % 64 & 1) != 0;
  }

 private:
  bool any_ = false;
  std::uint64_t words_[kMaxDecodeRows + 1][kBlockKeys / 64] = {};
};

// Adds the bias to the scores [kBlockKeys] of one row of decode; values: scratch [kBlockKeys].
inline void add_bias_to_row(const ScoreBias& bias, const RowOfItem& at, const KeyPositions& keys,
                            int row, float* values, float* scores, HiddenByBias& hidden) {
  const Vf factor = set(bias_factor(bias, at.head));
  if (!fill_bias_values(bias, at, keys, values)) {
    for (int i = 0; i < keys.n; i += kLanes) {
      store(fma(load(values + i), factor, load(scores + i)), scores + i);
    }
    return;
  }
  for (int i = 0; i < keys.n; i += kLanes) {
    store(biased(load(scores + i), load(values + i), factor), scores + i);
  }
  for (int i = 0; i < keys.n; ++i) {
    if (values[i] == kMinusInfinity) hidden.add(row, i);
  }
}

}  // namespace RAPTLY_TARGET
}  // namespace raptly
RAPTLY_AFTER_TARGET();
#endif
#endif
