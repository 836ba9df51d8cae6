// The microkernel of the prefill driver and of GEMM: S[i][lane] (+)= sum over t of A[i][t] *
// X[t][lane], one FMA chain a value, t ascending, so that its bits do not depend on the shape of
// the register tile. A is broadcast (two strides), X and S are rows of lanes.
//
//   prefill QK   A = K [keys][d]   X = Q^T panel [d][queries]   S = scores [keys][queries]
//   prefill PV   A = V [d][keys]   X = P [keys][queries]        S = O^T [d][queries]
#if defined(RAPTLY_MM_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RAPTLY_MM_INL_H
#undef RAPTLY_MM_INL_H
#else
#define RAPTLY_MM_INL_H
#endif

#include "kernels/simd/vec-inl.h"
#if RAPTLY_TARGET_ENABLED
RAPTLY_BEFORE_TARGET();
namespace raptly {
namespace RAPTLY_TARGET {

struct Broadcasts {
  const float* at;
  std::int64_t row_stride, step_stride;
};
template <class T>
struct LaneRows {
  const T* at;
  std::int64_t stride;
};
struct Sums {
  float* at;
  std::int64_t stride;
};

// Rows of a register tile of so many vectors: rows * vecs accumulators, vecs operands and, without
// memory broadcasts, one broadcast fit the registers.
constexpr int tile_rows(int vecs) {
  constexpr int kWide[] = {16, 12, 8, 4, 4, 4, 2, 2};  // 32 registers
  constexpr int kNarrow[] = {8, 6, 4, 2, 2, 1, 1, 1};  // 16 registers
  return kRegisters == 32 ? kWide[vecs - 1] : kNarrow[vecs - 1];
}

template <int kRows, int kVecs, bool kAccumulate, class T>
RAPTLY_INLINE void mm(const Broadcasts& a, const LaneRows<T>& x, const Sums& s, std::int64_t n) {
  const float* __restrict a_at = a.at;
  const T* __restrict x_at = x.at;
  float* __restrict s_at = s.at;
  const std::int64_t a_row = a.row_stride, a_step = a.step_stride, x_step = x.stride;
  Vf sum[kRows][kVecs];
  each<kRows>([&](auto i) RAPTLY_LAMBDA {
    each<kVecs>([&](auto j) RAPTLY_LAMBDA {
      sum[i][j] = kAccumulate ? load(s_at + i * s.stride + j * kLanes) : zero();
    });
  });
  for (std::int64_t t = 0; t < n; ++t) {
    Vf lanes[kVecs];
    each<kVecs>([&](auto j) RAPTLY_LAMBDA { lanes[j] = load(x_at + j * kLanes); });
    each<kRows>([&](auto i) RAPTLY_LAMBDA {
      const Vf b = set(a_at[i * a_row]);
      each<kVecs>([&](auto j) RAPTLY_LAMBDA { sum[i][j] = fma(b, lanes[j], sum[i][j]); });
    });
    a_at += a_step;
    x_at += x_step;
  }
  each<kRows>([&](auto i) RAPTLY_LAMBDA {
    each<kVecs>([&](auto j) RAPTLY_LAMBDA { store(sum[i][j], s_at + i * s.stride + j * kLanes); });
  });
}

// Any number of rows: whole tiles, then tails of 8, 4, 2 and 1.
template <int kVecs, bool kAccumulate, class T>
RAPTLY_INLINE void mm_rows(std::int64_t rows, Broadcasts a, const LaneRows<T>& x, Sums s,
                           std::int64_t n) {
  constexpr int kRows = tile_rows(kVecs);
  const auto next = [&](int done) RAPTLY_LAMBDA {
    a.at += done * a.row_stride;
    s.at += done * s.stride;
    rows -= done;
  };
  while (rows >= kRows) {
    mm<kRows, kVecs, kAccumulate>(a, x, s, n);
    next(kRows);
  }
  each<4>([&](auto half) RAPTLY_LAMBDA {
    constexpr int kTail = 8 >> half;
    if constexpr (kTail < kRows) {
      if (rows >= kTail) {
        mm<kTail, kVecs, kAccumulate>(a, x, s, n);
        next(kTail);
      }
    }
  });
}

}  // namespace RAPTLY_TARGET
}  // namespace raptly
RAPTLY_AFTER_TARGET();
#endif
#endif
