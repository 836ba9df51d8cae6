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

// Of kMergeRows rows of one head.
struct MergeWeights {
  float* shares;  // [n_states][kMergeRows]: w_i / W
  float* lse;     // [n_states][kMergeRows], as given
  float* merged;  // [kMergeRows]
};
inline MergeWeights weights_of_head(float* workspace, std::int64_t head, std::int64_t n_states) {
  float* at = workspace + head * (2 * n_states + 1) * kMergeRows;
  return {at, at + n_states * kMergeRows, at + 2 * n_states * kMergeRows};
}

// ln x of a normal x > 0, |error| <= 1.2e-7 + 2^-24 |ln x|: 2 atanh((m - 1) / (m + 1)) of the
// mantissa. The C library's log in double took a third of the time of a row of 64.
inline float natural_log(float x) {
  if (x != x) return x;
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  auto exponent_of_two = static_cast<float>(static_cast<int>(bits >> 23) - 127);
  bits = (bits & 0x7fffffu) | 0x3f800000u;
  float m;
  std::memcpy(&m, &bits, sizeof(m));
  if (m > 1.41421356f) {
    m *= 0.5f;
    exponent_of_two += 1;
  }
  const float s = (m - 1) / (m + 1), z = s * s;
  float p = std::fma(z, 0x1.c71c72p-4f, 0x1.24924ap-3f);  // 1/9, 1/7
  p = std::fma(z, p, 0x1.99999ap-3f);                     // 1/5
  p = std::fma(z, p, 0x1.555556p-2f);                     // 1/3
  const float two_s = s + s;
  return std::fma(exponent_of_two, 0x1.62e43p-1f, std::fma(two_s * z, p, two_s));
}

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
    float& lse = weights.merged[r];
    lse = sums[r] == 0 ? kMinusInfinity : lse + natural_log(sums[r]);
  }
}

// Row r of the weights.
struct MergeRow {
  std::int64_t query, head;
  int r;
};

// Lanes [c, c + kVecs * kLanes) of a row; dims side by side. Every state is read before out is
// written: out may be a state.
template <int kVecs, class In, class Out>
RAPTLY_INLINE void merge_lanes(const MergeItem& item, const MergeRow& row,
                               const MergeWeights& weights, std::int64_t c, Out* out) {
  const auto n_states = static_cast<std::int64_t>(item.states.size());
  Vf sum[kVecs];
  each<kVecs>([&](auto j) RAPTLY_LAMBDA { sum[j] = zero(); });
  for (std::int64_t i = 0; i < n_states; ++i) {
    if (weights.lse[i * kMergeRows + row.r] == kMinusInfinity) continue;
    const MergeSource& state = item.states[static_cast<std::size_t>(i)];
    const In* in = static_cast<const In*>(state.out) + row.query * state.out_strides.token +
                   row.head * state.out_strides.head + c;
    const Vf share = set(weights.shares[i * kMergeRows + row.r]);
    each<kVecs>([&](auto j) RAPTLY_LAMBDA { sum[j] = fma(share, load(in + j * kLanes), sum[j]); });
  }
  each<kVecs>([&](auto j) RAPTLY_LAMBDA { store(sum[j], out + c + j * kLanes); });
}

// Lanes [c, c + n) of a row through any strides.
template <class In, class Out>
void merge_some(const MergeItem& item, const MergeRow& row, const MergeWeights& weights,
                std::int64_t c, std::int64_t n, Out* out) {
  const auto n_states = static_cast<std::int64_t>(item.states.size());
  Vf sum = zero();
  for (std::int64_t i = 0; i < n_states; ++i) {
    if (weights.lse[i * kMergeRows + row.r] == kMinusInfinity) continue;
    const MergeSource& state = item.states[static_cast<std::size_t>(i)];
    const In* in = static_cast<const In*>(state.out) + row.query * state.out_strides.token +
                   row.head * state.out_strides.head;
    In part[kLanes] = {};
    for (std::int64_t lane = 0; lane < n; ++lane) {
      part[lane] = in[(c + lane) * state.out_strides.dim];
    }
    sum = fma(set(weights.shares[i * kMergeRows + row.r]), load(part), sum);
  }
  Out part[kLanes];
  store(sum, part);
  for (std::int64_t lane = 0; lane < n; ++lane) {
    out[(c + lane) * item.out_strides.dim] = part[lane];
  }
}

template <class In, class Out>
void merge_row(const MergeItem& item, const MergeRow& row, const MergeWeights& weights,
               bool dense) {
  Out* out = static_cast<Out*>(item.out) + row.query * item.out_strides.token +
             row.head * item.out_strides.head;
  std::int64_t c = 0;
  if (dense) {
    for (; c + 4 * kLanes <= item.v_dim; c += 4 * kLanes) {
      merge_lanes<4, In>(item, row, weights, c, out);
    }
    for (; c + kLanes <= item.v_dim; c += kLanes) merge_lanes<1, In>(item, row, weights, c, out);
  }
  for (; c < item.v_dim; c += kLanes) {
    merge_some<In>(item, row, weights, c, std::min<std::int64_t>(kLanes, item.v_dim - c), out);
  }
}

// All rows of a block in the order in which they lie in memory: walking them across cost 4 times
// the time (a page a row).
template <class In, class Out>
void merge_block(const MergeItem& item, std::int64_t first, int n, float* workspace) {
  const auto n_states = static_cast<std::int64_t>(item.states.size());
  bool dense = item.out_strides.dim == 1;
  for (const MergeSource& state : item.states) dense &= state.out_strides.dim == 1;
  const auto row = [&](int r, std::int64_t head) {
    merge_row<In, Out>(item, {first + r, head, r}, weights_of_head(workspace, head, n_states),
                       dense);
  };
  if (std::abs(item.out_strides.token) < std::abs(item.out_strides.head)) {
    for (std::int64_t head = 0; head < item.n_heads; ++head) {
      for (int r = 0; r < n; ++r) row(r, head);
    }
  } else {
    for (int r = 0; r < n; ++r) {
      for (std::int64_t head = 0; head < item.n_heads; ++head) row(r, head);
    }
  }
}

template <class In, class Out>
void merge_rows_of(const MergeItem& item, float* workspace) {
  const auto n_states = static_cast<std::int64_t>(item.states.size());
  for (std::int64_t first = item.query_begin; first < item.query_end; first += kMergeRows) {
    const int n = static_cast<int>(std::min<std::int64_t>(kMergeRows, item.query_end - first));
    for (std::int64_t head = 0; head < item.n_heads; ++head) {
      make_shares(item, head, first, n, weights_of_head(workspace, head, n_states));
    }
    merge_block<In, Out>(item, first, n, workspace);
    for (std::int64_t head = 0; item.lse != nullptr && head < item.n_heads; ++head) {
      float* lse = item.lse + first * item.lse_strides.token + head * item.lse_strides.head;
      const float* merged = weights_of_head(workspace, head, n_states).merged;
      for (int r = 0; r < n; ++r) lse[r * item.lse_strides.token] = merged[r];
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
