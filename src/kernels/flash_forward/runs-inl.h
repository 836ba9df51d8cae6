// The products of a partial block, without the vectors of lanes that see nothing: 8 keys at a time
// it finds the vectors of which some lane sees one of them, and multiplies these. The rest would be
// computed and then masked: the triangles at the ends of a window, two thirds of a block where one
// row of 48 sees everything (Longformer), the halves of a tile that belong to two rows of blocks
// (BigBird). Skipped products are of hidden scores and of p = 0, so no bit depends on it.
#if defined(RAPTLY_FORWARD_RUNS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RAPTLY_FORWARD_RUNS_INL_H
#undef RAPTLY_FORWARD_RUNS_INL_H
#else
#define RAPTLY_FORWARD_RUNS_INL_H
#endif

#include "kernels/flash_forward/panel-inl.h"
#include "kernels/microkernel/mm-inl.h"
#if RAPTLY_TARGET_ENABLED
RAPTLY_BEFORE_TARGET();
namespace raptly {
namespace RAPTLY_TARGET {

// Keys [begin, end) of a block, and vectors of the panel.
struct VisibleRun {
  int begin, end, first_vec, n_vecs;
};
struct VisibleRuns {
  int n = 0;
  VisibleRun run[kBlockKeys / 8];  // NOLINT: written before it is read
};

// bits: of a partial span, a word a key up to a multiple of 8.
template <int kVecs>
void find_runs(const QueryPanel& panel, const std::uint64_t* bits, int n, VisibleRuns& runs) {
  for (int key = 0; key < n; key += 8) {
    std::uint64_t some = 0;
    for (int i = 0; i < 8; ++i) some |= bits[key + i];
    int first = 0, last = kVecs;
    while (first < last && (some & panel.vec_bits[first]) == 0) ++first;
    while (last > first && (some & panel.vec_bits[last - 1]) == 0) --last;
    if (first == last) continue;
    const int end = std::min(key + 8, n);
    VisibleRun* before = runs.n == 0 ? nullptr : &runs.run[runs.n - 1];
    if (before != nullptr && before->end == key && before->first_vec == first &&
        before->n_vecs == last - first) {
      before->end = end;
    } else {
      runs.run[runs.n++] = {key, end, first, last - first};
    }
  }
}

// mm_rows of the vectors [first_vec, first_vec + n_vecs) of x and s.
template <int kVecs, bool kAccumulate>
void mm_vecs(std::int64_t rows, const Broadcasts& a, LaneRows<float> x, Sums s, std::int64_t n,
             const VisibleRun& run) {
  x.at += run.first_vec * kLanes;
  s.at += run.first_vec * kLanes;
  if (run.n_vecs == kVecs) return mm_rows<kVecs, kAccumulate>(rows, a, x, s, n);
  if constexpr (kVecs > 1) {
    if (run.n_vecs == 1) return mm_rows<1, kAccumulate>(rows, a, x, s, n);
  }
  if constexpr (kVecs > 2) mm_rows<2, kAccumulate>(rows, a, x, s, n);
}

// Scores [keys][lanes] of the runs; k: row of the first key.
template <int kVecs>
[[gnu::noinline]] void score_runs(const VisibleRuns& runs, const QueryPanel& panel,
                                  const LaneRows<float>& k, std::int64_t head_dim, float* scores) {
  constexpr int kStride = kVecs * kLanes;
  for (int i = 0; i < runs.n; ++i) {
    const VisibleRun& run = runs.run[i];
    mm_vecs<kVecs, false>(run.end - run.begin, {k.at + run.begin * k.stride, k.stride, 1},
                          {panel.q, kStride}, {scores + run.begin * kStride, kStride}, head_dim,
                          run);
  }
}

// o of the panel += p V over the runs.
template <int kVecs>
[[gnu::noinline]] void add_runs(const VisibleRuns& runs, const QueryPanel& panel,
                                const LaneRows<float>& v, std::int64_t v_dim, const float* p) {
  constexpr int kStride = kVecs * kLanes;
  const Sums o{panel.o, kStride};
  if (!panel.live) {
    std::memset(panel.o, 0, static_cast<std::size_t>(v_dim * kStride) * sizeof(float));
  }
  for (int i = 0; i < runs.n; ++i) {
    const VisibleRun& run = runs.run[i];
    mm_vecs<kVecs, true>(v_dim, {v.at + run.begin * v.stride, 1, v.stride},
                         {p + run.begin * kStride, kStride}, o, run.end - run.begin, run);
  }
}

}  // namespace RAPTLY_TARGET
}  // namespace raptly
RAPTLY_AFTER_TARGET();
#endif
#endif
