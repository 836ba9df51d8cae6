#include <algorithm>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "mask/predicate.h"
#include "mask/rule.h"
#include "raptly/mask.h"

namespace raptly {
namespace {

constexpr int kTileQueries = kMaxTileQueries;

// Keys in the blocks that some query of the plan sees.
std::int64_t keys_read(const TilePlan& plan) {
  const std::int64_t kv_len = plan.scope().kv_len;
  std::vector<std::int64_t> opens(static_cast<std::size_t>(kv_len / kBlockKeys + 2));
  for (const QueryTile& tile : plan.tiles()) {
    for (const TileSpan& span : tile.spans) {
      ++opens[static_cast<std::size_t>(span.first_key / kBlockKeys)];
      --opens[static_cast<std::size_t>((span.first_key + span.n_keys - 1) / kBlockKeys + 1)];
    }
  }
  std::int64_t open = 0, keys = 0;
  for (std::int64_t b = 0; b * kBlockKeys < kv_len; ++b) {
    open += opens[static_cast<std::size_t>(b)];
    if (open > 0) keys += std::min(kBlockKeys, kv_len - b * kBlockKeys);
  }
  return keys;
}

std::int64_t agreed(const char* what, std::int64_t given, std::int64_t of_mask) {
  if (given < 0 || (given != 0 && of_mask != 0 && given != of_mask)) {
    mask_detail::fail("mask", std::string(what) + " is " + std::to_string(given) +
                                  ", the mask is for " + std::to_string(of_mask) +
                                  ". They must agree; 0 takes the mask's own.");
  }
  return given != 0 ? given : std::max<std::int64_t>(1, of_mask);
}

// Adds a plan that `entries` pairs of (batch entry, head) share.
void add(MaskReport& report, const TilePlan& plan, std::int64_t entries) {
  const auto times = static_cast<double>(entries);
  const auto q_len = static_cast<double>(plan.scope().q_len);
  const double pairs = static_cast<double>(plan.visible_pairs());
  const auto dims = static_cast<double>(report.shape.head_dim + report.shape.v_dim);
  report.pairs += times * q_len * static_cast<double>(plan.scope().kv_len);
  report.visible_pairs += times * pairs;
  report.tiles_full += entries * plan.n_full();
  report.tiles_partial += entries * plan.n_partial();
  report.tiles_empty += entries * plan.n_empty();
  report.tiles_again += entries * plan.n_again();
  report.bytes += times * 4 * dims * (q_len + static_cast<double>(keys_read(plan)));
  report.plan_bytes = std::max(report.plan_bytes, plan.memory_bytes());
  ++report.n_plans;
}

}  // namespace

MaskReport Mask::explain(const MaskShape& shape) const {
  MaskReport report;
  report.shape = shape;
  const std::int64_t mask_batch = rule_ ? rule_->batch() : 0;
  const std::int64_t batch = agreed("batch", shape.batch, mask_batch);
  const std::int64_t n_heads = agreed("n_heads", shape.n_heads, rule_ ? rule_->n_heads() : 0);
  report.shape.batch = batch;
  report.shape.n_heads = n_heads;
  const std::int64_t entries = mask_batch == 0 ? 1 : batch;
  std::vector<std::int64_t> first_of;  // heads that need a plan of their own
  std::vector<std::int64_t> n_same;
  for (std::int64_t h = 0; h < n_heads; ++h) {
    const auto same = std::find_if(first_of.begin(), first_of.end(), [&](std::int64_t first) {
      return !rule_ || rule_->same_heads(first, h);
    });
    if (same == first_of.end()) {
      first_of.push_back(h);
      n_same.push_back(1);
    } else {
      ++n_same[static_cast<std::size_t>(same - first_of.begin())];
    }
  }
  for (std::int64_t b = 0; b < entries; ++b) {
    for (std::size_t h = 0; h < first_of.size(); ++h) {
      const MaskScope scope = bottom_right_scope(shape.q_len, shape.kv_len, b, first_of[h]);
      mask_detail::within_memory(scope, [&] {
        add(report, TilePlan(*this, scope, kTileQueries), n_same[h] * (batch / entries));
      });
    }
  }
  if (report.pairs > 0) report.density = report.visible_pairs / report.pairs;
  if (report.tiles() > 0) {
    report.share_skipped =
        static_cast<double>(report.tiles_empty) / static_cast<double>(report.tiles());
  }
  const auto dims = static_cast<double>(shape.head_dim + shape.v_dim);
  report.flops = 2 * dims * report.visible_pairs;
  report.flops_dense = 2 * dims * report.pairs;
  return report;
}

namespace {

// In percent, of four digits or as many more as keep "nearly all" from being 100.
std::string percent(double share) {
  char text[40];
  for (int digits = 4;; ++digits) {
    std::snprintf(text, sizeof(text), "%.*g %%", digits, 100 * share);
    if (share >= 1 || std::string_view(text) != "100 %" || digits == 17) return text;
  }
}

std::string count(std::int64_t n, const char* noun) {
  return std::to_string(n) + " " + noun + (n == 1 ? "" : "s");
}

}  // namespace

std::string MaskReport::to_string() const {
  char text[800];
  const auto n = [](std::int64_t x) { return static_cast<long long>(x); };
  const std::string again =
      tiles_again == 0 ? "" : ", " + std::to_string(tiles_again) + " of them counted again";
  std::snprintf(text, sizeof(text),
                "density    %s of %.4g pairs (%lld queries x %lld keys, batch %lld, %s)\n"
                "tiles      %lld full, %lld partial%s, %lld empty: %s skipped\n"
                "flops      %.4g of %.4g dense (head_dim %lld, v_dim %lld): %s saved\n"
                "bytes      %.4g for q, k, v and out in f32\n"
                "plans      %lld, at most %zu bytes\n",
                percent(density).c_str(), pairs, n(shape.q_len), n(shape.kv_len), n(shape.batch),
                count(shape.n_heads, "head").c_str(), n(tiles_full), n(tiles_partial),
                again.c_str(), n(tiles_empty), percent(share_skipped).c_str(), flops, flops_dense,
                n(shape.head_dim), n(shape.v_dim),
                percent(flops_dense > 0 ? 1 - flops / flops_dense : 0).c_str(), bytes, n(n_plans),
                plan_bytes);
  return text;
}

std::vector<std::uint8_t> Mask::materialize(std::int64_t q_len, std::int64_t kv_len,
                                            std::int64_t batch, std::int64_t head) const {
  const MaskScope scope = bottom_right_scope(q_len, kv_len, batch, head);
  const MaskPredicate sees(*this, scope);
  constexpr std::int64_t kMost = std::int64_t{1} << 36;
  if (q_len > 0 && kv_len > kMost / q_len) {
    mask_detail::fail("mask", "materialize of " + std::to_string(q_len) + " x " +
                                  std::to_string(kv_len) +
                                  " pairs was asked for. At most 2^36 are allowed.");
  }
  std::vector<std::uint8_t> seen;
  mask_detail::within_memory(scope,
                             [&] { seen.reserve(static_cast<std::size_t>(q_len * kv_len)); });
  for (std::int64_t i = 0; i < q_len; ++i) {
    for (std::int64_t j = 0; j < kv_len; ++j) seen.push_back(static_cast<std::uint8_t>(sees(i, j)));
  }
  return seen;
}

}  // namespace raptly
