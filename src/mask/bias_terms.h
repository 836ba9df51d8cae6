// What a Bias holds, and what a kernel gets of it for one batch entry.
#pragma once

#include <cstdint>
#include <vector>

#include "mask/tile_plan.h"
#include "raptly/bias.h"

namespace raptly {

enum class BiasKind : std::uint8_t {
  kDistance,  // -slope * |query position - key position|
  kOffset,    // an entry of a table for each key position - query position
  kDense,     // an element of the caller's tensor
};

namespace bias_detail {

// Tables have so many copies of their first and last entry in front and behind, so that a kernel
// may read a block of keys for a panel of queries without asking where the ends are.
constexpr std::int64_t kTablePad = 256;
constexpr float kMostSlope = 0x1p64f;

struct Terms {
  BiasKind kind = BiasKind::kDistance;
  std::int64_t n_heads = 0;                // 0: any
  std::vector<std::vector<float>> slopes;  // kDistance: of all batch entries, or of each
  std::int64_t reach = 0;                  // kOffset: entries for -reach .. reach
  std::vector<float> table;                // kOffset: [n_heads][table_row()]
  // kOffset made from buckets (t5): of each offset -reach .. reach; else empty.
  std::vector<std::int32_t> bucket_of;
  std::int64_t n_buckets = 0;
  TensorView tensor;  // kDense

  std::int64_t table_row() const { return 2 * reach + 1 + 2 * kTablePad; }
};

}  // namespace bias_detail

// Of one batch entry. Heads are counted as those of q.
struct ScoreBias {
  BiasKind kind = BiasKind::kDistance;
  MaskScope scope;  // placed: where the tokens stand

  const float* slopes = nullptr;  // kDistance: [n_heads]

  // kOffset: by_key[head * table_row + kTablePad + reach + d], d = key position - query position.
  // by_query turns that round, d = query position - key position, with the heads that share lanes
  // side by side: by_query[(set * table_row + kTablePad + reach + d) * group + head of the set];
  // may be null.
  const float* by_key = nullptr;
  const float* by_query = nullptr;
  std::int64_t reach = 0, table_row = 0;

  // kDense: the element of head, query and key through these strides.
  const void* data = nullptr;
  DType dtype = DType::kF32;
  std::int64_t head_stride = 0, query_stride = 0, key_stride = 0;
};

// The bias of batch entry scope.batch; scope is a placed one. by_query stays null.
ScoreBias score_bias(const bias_detail::Terms& terms, const MaskScope& scope);

// ScoreBias::by_query of a table, for heads that share lanes in groups.
std::vector<float> table_by_query(const bias_detail::Terms& terms, int group);

// The definition, pair by pair, in double; what reference kernels and tests ask. -inf: hidden.
double bias_of_pair(const ScoreBias& bias, std::int64_t head, std::int64_t query, std::int64_t key);

}  // namespace raptly
