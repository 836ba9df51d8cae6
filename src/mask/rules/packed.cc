// packed(cu_q, cu_kv): many sequences in one: sequence s has the queries cu_q[s] .. cu_q[s+1] - 1
// and the keys cu_kv[s] .. cu_kv[s+1] - 1 (flash-attn's cu_seqlens). A query sees only its own
// sequence, and positions count from that sequence's first key, bottom-right.
#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "mask/per_batch.h"
#include "raptly/mask.h"

namespace raptly {
namespace mask_detail {
namespace {

using Sums = std::vector<std::int64_t>;

// Where token i is: the last sequence that begins at or before it (empty ones come before).
std::int64_t sequence_of(const Sums& sums, std::int64_t i) {
  return std::upper_bound(sums.begin(), sums.end(), i) - sums.begin() - 1;
}

// Positions of one side's tokens, counted within each sequence from starts[s].
class Side {
 public:
  Side(const Sums& sums, Sums starts) : sums_(sums) {
    Sums lasts = starts;
    for (std::size_t s = 0; s < lasts.size(); ++s) lasts[s] += sums[s + 1] - sums[s] - 1;
    // An empty sequence must not widen a range: it takes the place of its neighbour.
    for (std::size_t s = 1; s < lasts.size(); ++s) {
      if (sums[s + 1] == sums[s]) starts[s] = starts[s - 1], lasts[s] = lasts[s - 1];
    }
    starts_ = RangeTable(std::move(starts));
    lasts_ = RangeTable(std::move(lasts));
  }

  std::int64_t sequence(std::int64_t i) const { return sequence_of(sums_, i); }
  std::int64_t position(std::int64_t i) const {
    const std::int64_t s = sequence(i);
    return starts_[s] + i - sums_[static_cast<std::size_t>(s)];
  }
  std::int64_t line(std::int64_t first, std::int64_t n) const {
    return std::min(n, sums_[static_cast<std::size_t>(sequence(first)) + 1] - first);
  }
  void list(std::int64_t first, std::span<std::int64_t> positions) const {
    auto s = static_cast<std::size_t>(sequence(first));
    for (std::int64_t& position : positions) {
      while (first >= sums_[s + 1]) ++s;
      position = starts_[static_cast<std::int64_t>(s)] + first++ - sums_[s];
    }
  }
  Range positions(std::int64_t first, std::int64_t n) const {
    const std::int64_t a = sequence(first), b = sequence(first + n - 1);
    const std::int64_t from = position(first), to = position(first + n - 1);
    if (a == b) return {from, to};
    Range range{std::min(from, starts_[b]), std::max(to, lasts_[a])};
    if (b - a > 1) {
      range =
          join(range, {starts_.range(a + 1, b - a - 1).least, lasts_.range(a + 1, b - a - 1).most});
    }
    return range;
  }
  std::int64_t index(std::int64_t i) const {
    return i - sums_[static_cast<std::size_t>(sequence(i))];
  }

 private:
  Sums sums_;
  RangeTable starts_, lasts_;
};

Sums shifts(const Sums& cu_q, const Sums& cu_kv) {
  Sums starts;
  for (std::size_t s = 0; s + 1 < cu_q.size(); ++s) {
    starts.push_back((cu_kv[s + 1] - cu_kv[s]) - (cu_q[s + 1] - cu_q[s]));
  }
  return starts;
}

class Packing final : public Placement {
 public:
  Packing(const Sums& cu_q, const Sums& cu_kv)
      : q_(cu_q, shifts(cu_q, cu_kv)),
        q_index_(cu_q, Sums(cu_q.size() - 1)),
        kv_(cu_kv, Sums(cu_kv.size() - 1)) {}

  std::int64_t query_position(std::int64_t query) const override { return q_.position(query); }
  std::int64_t key_position(std::int64_t key) const override { return kv_.position(key); }
  void list_query_positions(std::int64_t first, std::span<std::int64_t> list) const override {
    q_.list(first, list);
  }
  void list_key_positions(std::int64_t first, std::span<std::int64_t> list) const override {
    kv_.list(first, list);
  }
  Range query_positions(std::int64_t first, std::int64_t n) const override {
    return q_.positions(first, n);
  }
  Range key_positions(std::int64_t first, std::int64_t n) const override {
    return kv_.positions(first, n);
  }
  bool is_one_sequence() const override { return false; }
  std::int64_t query_index(std::int64_t query) const override { return q_.index(query); }
  std::int64_t key_index(std::int64_t key) const override { return kv_.index(key); }
  Range query_indices(std::int64_t first, std::int64_t n) const override {
    return q_index_.positions(first, n);
  }
  Range key_indices(std::int64_t first, std::int64_t n) const override {
    return kv_.positions(first, n);
  }
  std::int64_t query_line(std::int64_t first, std::int64_t n) const override {
    return q_.line(first, n);
  }
  std::int64_t key_line(std::int64_t first, std::int64_t n) const override {
    return kv_.line(first, n);
  }
  std::int64_t query_sequence(std::int64_t query) const { return q_.sequence(query); }
  std::int64_t key_sequence(std::int64_t key) const { return kv_.sequence(key); }

 private:
  Side q_, q_index_, kv_;
};

class Packed final : public Rule {
 public:
  Packed(Sums cu_q, Sums cu_kv)
      : cu_q_(std::move(cu_q)), cu_kv_(std::move(cu_kv)), packing_(cu_q_, cu_kv_) {}

  bool sees(const MaskScope&, std::int64_t query, std::int64_t key) const override {
    return packing_.query_sequence(query) == packing_.key_sequence(key);
  }
  TileAnswer answer(const MaskScope&, const MaskTile& tile) const override {
    const Range q{packing_.query_sequence(tile.first_query),
                  packing_.query_sequence(tile.last_query())};
    const Range kv{packing_.key_sequence(tile.first_key), packing_.key_sequence(tile.last_key())};
    if (q.most < kv.least || kv.most < q.least) return TileAnswer::kEmpty;
    const Range both = join(q, kv);
    return both.least == both.most ? TileAnswer::kFull : TileAnswer::kPartial;
  }
  void bits(const MaskScope&, const MaskTile& tile, std::span<std::uint64_t> words) const override {
    for (std::int64_t k = 0; k < tile.n_keys; ++k) {
      const auto s = static_cast<std::size_t>(packing_.key_sequence(tile.first_key + k));
      words[static_cast<std::size_t>(k)] =
          bit_range(cu_q_[s] - tile.first_query, cu_q_[s + 1] - tile.first_query, tile.n_queries);
    }
  }
  std::string to_string() const override {
    if (cu_q_ == cu_kv_) return "packed(" + list_text(cu_q_) + ")";
    return "packed(" + list_text(cu_q_) + ", " + list_text(cu_kv_) + ")";
  }
  bool moves_tokens() const override { return true; }
  MaskScope place(const MaskScope& scope) const override {
    check_total("cu_q", cu_q_, "q_len", scope.q_len);
    check_total("cu_kv", cu_kv_, "kv_len", scope.kv_len);
    MaskScope placed = scope;
    placed.placement = &packing_;
    return placed;
  }

 private:
  static void check_total(const char* name, const Sums& sums, const char* len_name,
                          std::int64_t len) {
    if (sums.back() == len) return;
    fail("packed", std::string(name) + " ends with " + std::to_string(sums.back()) + ", " +
                       len_name + " is " + std::to_string(len) + ". They must be equal.");
  }

  Sums cu_q_, cu_kv_;
  Packing packing_;
};

void check_sums(const char* name, const Sums& sums) {
  if (sums.empty() || sums.front() != 0) {
    const std::string what = sums.empty() ? " is empty" : " starts with " + std::to_string(sums[0]);
    fail("packed",
         name + what + ". It must start with 0 and have one more entry than there are sequences.");
  }
  for (std::size_t s = 1; s < sums.size(); ++s) {
    if (sums[s] >= sums[s - 1] && sums[s] <= kMaxPosition) continue;
    fail("packed", std::string(name) + "[" + std::to_string(s) + "] is " + std::to_string(sums[s]) +
                       " after " + std::to_string(sums[s - 1]) +
                       ". It must never fall, and be at most 2^48.");
  }
}

}  // namespace

Mask parse_packed(RuleArguments& args) {
  Sums cu_q = args.integers(0, "cu_q");
  if (!args.has(1, "cu_kv")) return mask::packed(std::move(cu_q));
  return mask::packed(std::move(cu_q), args.integers(1, "cu_kv"));
}

}  // namespace mask_detail

Mask mask::packed(std::vector<std::int64_t> cu_q, std::vector<std::int64_t> cu_kv) {
  mask_detail::check_sums("cu_q", cu_q);
  mask_detail::check_sums("cu_kv", cu_kv);
  if (cu_q.size() != cu_kv.size()) {
    mask_detail::fail("packed", "cu_q is for " + std::to_string(cu_q.size() - 1) +
                                    " sequences, cu_kv for " + std::to_string(cu_kv.size() - 1) +
                                    ". They must be equal.");
  }
  return Mask(std::make_shared<mask_detail::Packed>(std::move(cu_q), std::move(cu_kv)));
}

Mask mask::packed(std::vector<std::int64_t> cu) {
  std::vector<std::int64_t> same = cu;
  return packed(std::move(cu), std::move(same));
}

}  // namespace raptly
