#include "raptly/bias.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <string>
#include <utility>

#include "base/elements.h"
#include "mask/bias_terms.h"
#include "mask/placement.h"
#include "mask/rule.h"
#include "raptly/error.h"

namespace raptly {
namespace {

using bias_detail::kMostSlope;
using bias_detail::kTablePad;
using bias_detail::Terms;
using mask_detail::fail;

std::string text(float x) {
  char buffer[32];
  std::snprintf(buffer, sizeof(buffer), "%g", static_cast<double>(x));
  return buffer;
}

void check_number(const char* where, const std::string& name, float x) {
  if (std::fabs(x) <= kMostSlope) return;  // false for NaN
  fail(where, name + " is " + text(x) + ". It must be a number of at most 2^64 in size.");
}

std::string at_text(std::initializer_list<std::size_t> indices) {
  std::string text;
  for (const std::size_t i : indices) text += (text.empty() ? "[" : ", ") + std::to_string(i);
  return text + "]";
}

void check_table(const char* where, const TensorView& table, const char* shape) {
  if (table.rank() != 2) {
    fail(where,
         "table has shape " + table.shape().to_string() + ". It must have rank 2: " + shape + ".");
  }
  if (table.size(0) < 1 || table.size(1) < 1) {
    fail(where, "table has shape " + table.shape().to_string() + ". It must not be empty.");
  }
  if (table.data() == nullptr) {
    fail(where, "table has shape " + table.shape().to_string() + " and no data.");
  }
}

constexpr std::int64_t kMostEntries = std::int64_t{1} << 28;

[[noreturn]] void fail_too_large(const char* where, const std::string& what) {
  throw Error(ErrorCode::kOutOfMemory,
              std::string("[") + where + "] " + what + ". At most 2^28 are allowed.");
}

// The table of all heads and offsets, with its padding, before anything is allocated.
void check_size(const char* where, std::int64_t n_heads, std::int64_t reach) {
  const std::int64_t row = 2 * reach + 1 + 2 * kTablePad;
  if (n_heads <= kMostEntries / row) return;
  fail_too_large(where, "n_heads " + std::to_string(n_heads) + " and offsets up to " +
                            std::to_string(reach) + " need " + std::to_string(row) +
                            " entries a head");
}

// The entries of a table [rows, columns], checked, as [row][column].
std::vector<std::vector<float>> read_table(const char* where, const TensorView& table) {
  if (table.size(0) > kMostEntries / table.size(1)) {
    fail_too_large(where, "table has shape " + table.shape().to_string() + " entries");
  }
  std::vector<std::vector<float>> rows(static_cast<std::size_t>(table.size(0)));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    for (std::int64_t j = 0; j < table.size(1); ++j) {
      const double x =
          element(table.data(), table.dtype(),
                  static_cast<std::int64_t>(i) * table.stride(0) + j * table.stride(1));
      rows[i].push_back(static_cast<float>(x));
      check_number(where, "table" + at_text({i, static_cast<std::size_t>(j)}), rows[i].back());
    }
  }
  return rows;
}

// entry(head, d) for d = -reach .. reach.
template <class Entry>
std::shared_ptr<Terms> offset_bias(std::int64_t n_heads, std::int64_t reach, const Entry& entry) {
  auto terms = std::make_shared<Terms>();
  terms->kind = BiasKind::kOffset;
  terms->n_heads = n_heads;
  terms->reach = reach;
  terms->table.reserve(static_cast<std::size_t>(n_heads * terms->table_row()));
  for (std::int64_t h = 0; h < n_heads; ++h) {
    for (std::int64_t i = 0; i < terms->table_row(); ++i) {
      terms->table.push_back(entry(h, std::clamp(i - kTablePad - reach, -reach, reach)));
    }
  }
  return terms;
}

// The bucket of offset d = k - q, in f32 as transformers has it: where the logarithm is an integer,
// a rounding decides.
std::int64_t t5_bucket(std::int64_t d, bool bidirectional, std::int64_t num_buckets,
                       std::int64_t max_distance) {
  std::int64_t first = 0;
  if (bidirectional) {
    num_buckets /= 2;
    first = d > 0 ? num_buckets : 0;
    d = std::abs(d);
  } else {
    d = -std::min<std::int64_t>(d, 0);
  }
  const std::int64_t max_exact = num_buckets / 2;
  if (d < max_exact) return first + d;
  const float ratio = static_cast<float>(d) / static_cast<float>(max_exact);
  const auto logarithm = static_cast<float>(std::log(static_cast<double>(ratio)));
  const auto whole = static_cast<float>(
      std::log(static_cast<double>(max_distance) / static_cast<double>(max_exact)));
  const float steps = logarithm / whole * static_cast<float>(num_buckets - max_exact);
  return first + std::min(max_exact + static_cast<std::int64_t>(steps), num_buckets - 1);
}

}  // namespace

Bias bias::alibi(std::vector<std::vector<float>> slopes_of_batch) {
  if (slopes_of_batch.empty() || slopes_of_batch[0].empty()) {
    fail("alibi", "there are no slopes. Give one for each head.");
  }
  for (std::size_t b = 0; b < slopes_of_batch.size(); ++b) {
    const std::size_t n = slopes_of_batch[b].size();
    if (n != slopes_of_batch[0].size()) {
      fail("alibi", "batch entry " + std::to_string(b) + " has " + std::to_string(n) +
                        " slopes, batch entry 0 has " + std::to_string(slopes_of_batch[0].size()) +
                        ". They must be equal.");
    }
    for (std::size_t h = 0; h < n; ++h) {
      const bool one = slopes_of_batch.size() == 1;
      check_number("alibi", "slopes" + (one ? at_text({h}) : at_text({b, h})),
                   slopes_of_batch[b][h]);
    }
  }
  auto terms = std::make_shared<Terms>();
  terms->kind = BiasKind::kDistance;
  terms->n_heads = static_cast<std::int64_t>(slopes_of_batch[0].size());
  terms->slopes = std::move(slopes_of_batch);
  return Bias(std::move(terms));
}

Bias bias::alibi(std::vector<float> slopes) {
  std::vector<std::vector<float>> rows;
  rows.push_back(std::move(slopes));
  return alibi(std::move(rows));
}

Bias bias::alibi(std::initializer_list<float> slopes) { return alibi(std::vector<float>(slopes)); }

std::vector<float> bias::alibi_slopes(std::int64_t n_heads, AlibiStyle style, float bias_max) {
  if (n_heads < 1 || n_heads > 65536) {
    fail("alibi_slopes", "n_heads is " + std::to_string(n_heads) + ". It must be 1 .. 65536.");
  }
  if (!(bias_max > 0 && bias_max <= 64)) {
    fail("alibi_slopes", "bias_max is " + text(bias_max) + ". It must be above 0, at most 64.");
  }
  std::int64_t below = 1;
  while (2 * below <= n_heads) below *= 2;
  // Slope i (from 1) of n.
  const auto slope = [&](std::int64_t i, std::int64_t n) {
    return static_cast<float>(std::exp2(-static_cast<double>(bias_max) * static_cast<double>(i) /
                                        static_cast<double>(n)));
  };
  std::vector<float> slopes;
  if (style != AlibiStyle::kMpt || below == n_heads) {
    for (std::int64_t i = 1; i <= below; ++i) slopes.push_back(slope(i, below));
    for (std::int64_t i = 1; i <= 2 * (n_heads - below); i += 2) {
      slopes.push_back(slope(i, 2 * below));
    }
    return slopes;
  }
  for (std::int64_t i = 2; i <= 2 * below; i += 2) slopes.push_back(slope(i, 2 * below));
  for (std::int64_t i = 1; i <= 2 * below; i += 2) slopes.push_back(slope(i, 2 * below));
  slopes.resize(static_cast<std::size_t>(n_heads));
  return slopes;
}

Bias bias::relative(const TensorView& table) {
  check_table("relative", table, "[n_heads, 2 * max - 1]");
  if (table.size(1) % 2 == 0 || table.size(1) > (std::int64_t{1} << 32)) {
    fail("relative", "table has " + std::to_string(table.size(1)) +
                         " columns. There must be 2 * max - 1, an odd number below 2^32.");
  }
  const std::int64_t reach = table.size(1) / 2;
  check_size("relative", table.size(0), reach);
  const std::vector<std::vector<float>> rows = read_table("relative", table);
  return Bias(offset_bias(table.size(0), reach, [&](std::int64_t head, std::int64_t d) {
    return rows[static_cast<std::size_t>(head)][static_cast<std::size_t>(d + reach)];
  }));
}

Bias bias::t5(const TensorView& table, bool bidirectional, std::int64_t max_distance) {
  check_table("t5", table, "[num_buckets, n_heads]");
  const std::int64_t num_buckets = table.size(0);
  const std::int64_t directed = bidirectional ? num_buckets / 2 : num_buckets;
  if (directed < 2) {
    fail("t5", "table has " + std::to_string(num_buckets) + " buckets. There must be at least " +
                   (bidirectional ? "4 when it is bidirectional." : "2."));
  }
  if (max_distance <= directed / 2 || max_distance > (1 << 24)) {
    fail("t5", "max_distance is " + std::to_string(max_distance) + ". It must be more than " +
                   std::to_string(directed / 2) + ", half the buckets of a direction, at most " +
                   std::to_string(1 << 24) + ".");
  }
  check_size("t5", table.size(1), max_distance);
  const std::vector<std::vector<float>> rows = read_table("t5", table);
  std::vector<std::int32_t>
      buckets;  // of -max_distance .. max_distance; all beyond are as the last
  for (std::int64_t d = -max_distance; d <= max_distance; ++d) {
    buckets.push_back(
        static_cast<std::int32_t>(t5_bucket(d, bidirectional, num_buckets, max_distance)));
  }
  auto terms = offset_bias(table.size(1), max_distance, [&](std::int64_t head, std::int64_t d) {
    const auto bucket =
        static_cast<std::size_t>(buckets[static_cast<std::size_t>(d + max_distance)]);
    return rows[bucket][static_cast<std::size_t>(head)];
  });
  terms->bucket_of = std::move(buckets);
  terms->n_buckets = num_buckets;
  return Bias(std::move(terms));
}

Bias bias::dense(const TensorView& tensor) {
  if (tensor.rank() != 4) {
    fail("dense", "the bias has shape " + tensor.shape().to_string() +
                      ". It must have rank 4: [batch, n_heads, q_len, kv_len], each of them or 1.");
  }
  if (tensor.data() == nullptr && tensor.shape().numel() > 0) {
    fail("dense", "the bias has shape " + tensor.shape().to_string() + " and no data.");
  }
  auto terms = std::make_shared<Terms>();
  terms->kind = BiasKind::kDense;
  terms->tensor = tensor;
  return Bias(std::move(terms));
}

ScoreBias score_bias(const Terms& terms, const MaskScope& scope) {
  ScoreBias bias;
  bias.kind = terms.kind;
  bias.scope = scope;
  if (terms.kind == BiasKind::kDistance) {
    bias.slopes =
        terms.slopes[terms.slopes.size() == 1 ? 0 : static_cast<std::size_t>(scope.batch)].data();
  } else if (terms.kind == BiasKind::kOffset) {
    bias.by_key = terms.table.data();
    bias.reach = terms.reach;
    bias.table_row = terms.table_row();
  } else {
    const TensorView& t = terms.tensor;
    const auto stride = [&](int dim) { return t.size(dim) == 1 ? 0 : t.stride(dim); };
    bias.dtype = t.dtype();
    bias.data = static_cast<const std::byte*>(t.data()) +
                scope.batch * stride(0) * static_cast<std::int64_t>(dtype_size(t.dtype()));
    bias.head_stride = stride(1);
    bias.query_stride = stride(2);
    bias.key_stride = stride(3);
  }
  return bias;
}

std::vector<float> table_by_query(const Terms& terms, int group) {
  const std::int64_t row = terms.table_row();
  std::vector<float> turned(terms.table.size());
  for (std::int64_t h = 0; h < terms.n_heads; ++h) {
    const float* from = terms.table.data() + h * row;
    float* to = turned.data() + h / group * row * group + h % group;
    for (std::int64_t i = 0; i < row; ++i) to[i * group] = from[row - 1 - i];
  }
  return turned;
}

double bias_of_pair(const ScoreBias& bias, std::int64_t head, std::int64_t query,
                    std::int64_t key) {
  if (bias.kind == BiasKind::kDense) {
    const double x =
        element(bias.data, bias.dtype,
                head * bias.head_stride + query * bias.query_stride + key * bias.key_stride);
    constexpr double kMost = 4194048;
    if (std::isnan(x) || x == -std::numeric_limits<double>::infinity()) return x;
    return std::clamp(x, -kMost, kMost);
  }
  const std::int64_t d =
      mask_detail::key_position(bias.scope, key) - mask_detail::query_position(bias.scope, query);
  if (bias.kind == BiasKind::kDistance) {
    return -static_cast<double>(bias.slopes[head]) * static_cast<double>(std::abs(d));
  }
  return static_cast<double>(bias.by_key[head * bias.table_row + bias_detail::kTablePad +
                                         bias.reach + std::clamp(d, -bias.reach, bias.reach)]);
}

}  // namespace raptly
