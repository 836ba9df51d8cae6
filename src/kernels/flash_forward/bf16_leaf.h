// The products and the exponential of the level avx512_bf16, with vdpbf16ps.
// The drivers (prefill_bf16-inl.h, decode_bf16-inl.h) hold the rest.
// docs/numerics.md, "avx512_bf16", has the row; per pair of bf16 values
// vdpbf16ps computes, rounding to nearest and flushing denormals:
//   sum = fma(odd, odd, sum);  sum = fma(even, even, sum)
//
// Two neighbouring bf16 values are one 32-bit word, the even one in the low
// half: pairs of d in queries and keys, pairs of ordinals in weights and
// values. A vector is 16 lanes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "raptly/dtype.h"

namespace raptly::bf16_leaf {

constexpr int kVectorLanes = 16;
constexpr int kTileRows = 8;  // keys of scores(), columns of values()

// lanes of 16: scores[key][lane] = q[lane] . k[key]; best[lane] = its largest,
// NaN dropped.
struct Scores {
  const std::uint32_t* k;  // [n][k_stride]
  std::int64_t k_stride;
  const std::uint32_t* q;  // [pairs][vecs * 16]
  std::int64_t pairs;
  int n;  // keys, a multiple of 8
  int vecs;
  float* scores;  // [n][vecs * 16]
  float* best;    // [vecs * 16]
};
void scores(const Scores& s) noexcept;

// What 2^(scale * score - m) needs of each lane.
struct PowerBase {
  const float* scale;
  const float* low;    // (m - 127) / scale: such a score and any below give exactly 0
  const float* magic;  // 1.5 * 2^23 + 127 - m
};

// Scores become pairs of weights rounded to bf16, in place: the pair of keys 2i
// and 2i + 1 in row i. l[lane] gains the unrounded weights, as eight partial
// sums by key mod 8.
struct Weights {
  float* scores;  // [n][vecs * 16]
  int n;          // a multiple of 8
  int vecs;
  PowerBase base;  // [vecs * 16] each
  float* l;        // [vecs * 16]
};
void weights(const Weights& w) noexcept;

// o[c][lane] (+)= sum over pairs of v[c][pair] . p[pair][lane].
struct Values {
  const std::uint32_t* v;    // [tiles][tile_stride]: of eight columns [pairs][8]
  std::int64_t tile_stride;  // words
  std::int64_t tiles;
  int pairs;
  int vecs;
  const std::uint32_t* p;  // [pairs][vecs * 16]
  float* o;                // [tiles * 8][vecs * 16]
  bool accumulate;
};
void values(const Values& v) noexcept;

// The same for one pair of keys, only in lanes that see them: 0 * inf must not
// reach the others.
struct VisiblePair {
  const std::uint32_t* v;  // as in Values, at the pair
  std::int64_t tile_stride;
  std::int64_t tiles;
  const std::uint32_t* p;  // [16], of one vector
  std::uint16_t sees_even, sees_odd;
  float* o;  // [tiles * 8][o_stride], at the vector
  std::int64_t o_stride;
};
void values_of_visible_pair(const VisiblePair& v) noexcept;

// Two rows of n values (null: zeros) as pairs, in tiles of eight columns. True
// if a value is NaN or infinite.
struct RowPair {
  const Bf16* even;
  const Bf16* odd;
  std::int64_t n;
  std::uint32_t* out;  // [n rounded up to 8, in tiles][tile_stride]
  std::int64_t tile_stride;
};
bool interleave_rows(const RowPair& rows) noexcept;

// lanes = 16 keys each: scores[row][key] = q[row] . k[key].
struct RowScores {
  const std::uint32_t* q;  // [rows][q_stride]
  std::int64_t q_stride;
  int rows;
  const std::uint32_t* k;  // [pairs][vecs * 16]: a transposed tile of keys
  std::int64_t pairs;
  int vecs;
  float* scores;  // [rows][scores_stride]
  std::int64_t scores_stride;
};
void row_scores(const RowScores& s) noexcept;

// The weights of one row over n keys (a multiple of 16); returns the sum of the
// unrounded ones.
struct RowWeights {
  const float* scores;
  int n;
  float scale, low, magic;
  Bf16* p;
};
float row_weights(const RowWeights& w) noexcept;

// lanes = 16 columns each: o[row][c] += sum over pairs of p[row][pair] .
// v[pair][c].
struct RowValues {
  const Bf16* v;  // [2 * pairs][v_stride]
  std::int64_t v_stride;
  bool fetch;              // values so many bytes ahead into L2
  std::intptr_t ahead[3];  // see Ahead
  std::int64_t columns;
  int pairs;
  const std::uint32_t* p;  // [rows][p_stride]
  std::int64_t p_stride;
  int rows;
  float* o;  // [rows][o_stride], o_stride a multiple of 16
  std::int64_t o_stride;
};
void row_values(const RowValues& v) noexcept;

}  // namespace raptly::bf16_leaf
