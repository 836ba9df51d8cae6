#if defined(RAPTLY_MERGE_STATES_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RAPTLY_MERGE_STATES_INL_H
#undef RAPTLY_MERGE_STATES_INL_H
#else
#define RAPTLY_MERGE_STATES_INL_H
#endif

#include "base/floating_point_mode.h"
#include "kernels/merge_states/merge_states.h"
#include "kernels/softmax_state/softmax_state-inl.h"
#if RAPTLY_TARGET_ENABLED
RAPTLY_BEFORE_TARGET();
namespace raptly {
namespace RAPTLY_TARGET {

// Rows whose weights are made together: the lanes of the widest level.
constexpr int kMergeRows = 16;

struct MergeWeights {
  float* shares;  // [n_states][kMergeRows]: w_i / W; 0 where lse is -inf
  float* lse;     // [n_states][kMergeRows], as given
  float* merged;  // [kMergeRows]
};

// Rows [first, first + n) of one head.
inline void make_shares(const MergeItem& item, std::int64_t head, std::int64_t first, int n,
                        const MergeWeights& weights) {
  const auto n_states = static_cast<std::int64_t>(item.states.size());
  for (std::int64_t i = 0; i < n_states; ++i) {
    const MergeSource& state = item.states[static_cast<std::size_t>(i)];
    const float* lse = state.lse + first * state.lse_strides.token + head * state.lse_strides.head;
    float* row = weights.lse + i * kMergeRows;
    for (int r = 0; r < kMergeRows; ++r) {
      row[r] = r < n ? lse[r * state.lse_strides.token] : kMinusInfinity;
    }
  }
  float sums[kMergeRows];
  for (int at = 0; at < kMergeRows; at += kLanes) {
    Vf most = set(kMinusInfinity);
    for (std::int64_t i = 0; i < n_states; ++i) {
      most = max(load(weights.lse + i * kMergeRows + at), most);
    }
    const Vf base = select(eq(most, set(kMinusInfinity)), zero(), most);
    Vf sum = zero();
    for (std::int64_t i = 0; i < n_states; ++i) {
      const Vf x = mul(sub(load(weights.lse + i * kMergeRows + at), base), set(kLog2E));
      const Vf w = pow2(x, Pow2Base(zero()));
      store(w, weights.shares + i * kMergeRows + at);
      sum = add(sum, w);
    }
    const Vf inverse = div(set(1.0f), select(eq(sum, zero()), set(1.0f), sum));
    for (std::int64_t i = 0; i < n_states; ++i) {
      float* share = weights.shares + i * kMergeRows + at;
      store(mul(load(share), inverse), share);
    }
    store(sum, sums + at);
    store(base, weights.merged + at);
  }
  for (int r = 0; r < n; ++r) {
    const double log = std::log(static_cast<double>(sums[r]));
    weights.merged[r] = sums[r] == 0
                            ? kMinusInfinity
                            : static_cast<float>(static_cast<double>(weights.merged[r]) + log);
  }
}

template <class T>
RAPTLY_INLINE Vf read_lanes(const T* row, std::int64_t stride, std::int64_t c, std::int64_t n) {
  if (stride == 1) return n == kLanes ? load(row + c) : load_first(row + c, n);
  T part[kLanes] = {};
  for (std::int64_t i = 0; i < n; ++i) part[i] = row[(c + i) * stride];
  return load(part);
}
template <class T>
RAPTLY_INLINE void write_lanes(Vf x, T* row, std::int64_t stride, std::int64_t c, std::int64_t n) {
  if (stride == 1) return n == kLanes ? store(x, row + c) : store_first(x, row + c, n);
  T part[kLanes];
  store(x, part);
  for (std::int64_t i = 0; i < n; ++i) row[(c + i) * stride] = part[i];
}

// Reads every state's lanes before it writes them: out may be a state.
template <class In, class Out>
void merge_row(const MergeItem& item, std::int64_t query, std::int64_t head, int r,
               const MergeWeights& weights) {
  const auto n_states = static_cast<std::int64_t>(item.states.size());
  Out* out =
      static_cast<Out*>(item.out) + query * item.out_strides.token + head * item.out_strides.head;
  for (std::int64_t c = 0; c < item.v_dim; c += kLanes) {
    const std::int64_t n = item.v_dim - c < kLanes ? item.v_dim - c : kLanes;
    Vf sum = zero();
    for (std::int64_t i = 0; i < n_states; ++i) {
      if (weights.lse[i * kMergeRows + r] == kMinusInfinity) continue;
      const MergeSource& state = item.states[static_cast<std::size_t>(i)];
      const In* row = static_cast<const In*>(state.out) + query * state.out_strides.token +
                      head * state.out_strides.head;
      const Vf share = set(weights.shares[i * kMergeRows + r]);
      sum = fma(share, read_lanes(row, state.out_strides.dim, c, n), sum);
    }
    write_lanes(sum, out, item.out_strides.dim, c, n);
  }
}

template <class In, class Out>
void merge_rows_of(const MergeItem& item, float* workspace) {
  const auto n_states = static_cast<std::int64_t>(item.states.size());
  const MergeWeights weights{workspace, workspace + n_states * kMergeRows,
                             workspace + 2 * n_states * kMergeRows};
  for (std::int64_t first = item.query_begin; first < item.query_end; first += kMergeRows) {
    const int n = static_cast<int>(std::min<std::int64_t>(kMergeRows, item.query_end - first));
    for (std::int64_t head = 0; head < item.n_heads; ++head) {
      make_shares(item, head, first, n, weights);
      for (int r = 0; r < n; ++r) merge_row<In, Out>(item, first + r, head, r, weights);
      if (item.lse == nullptr) continue;
      float* lse = item.lse + first * item.lse_strides.token + head * item.lse_strides.head;
      for (int r = 0; r < n; ++r) lse[r * item.lse_strides.token] = weights.merged[r];
    }
  }
}

template <class In>
void merge_rows_from(const MergeItem& item, float* workspace) {
  if (item.out_dtype == DType::kF32) return merge_rows_of<In, float>(item, workspace);
  merge_rows_of<In, In>(item, workspace);
}

void merge_rows(const MergeItem& item, float* workspace) noexcept {
  const FloatingPointMode mode;
  switch (item.dtype) {
    case DType::kF16:
      return merge_rows_from<F16>(item, workspace);
    case DType::kBf16:
      return merge_rows_from<Bf16>(item, workspace);
    default:
      return merge_rows_from<float>(item, workspace);
  }
}

}  // namespace RAPTLY_TARGET
}  // namespace raptly
RAPTLY_AFTER_TARGET();
#endif
#endif
