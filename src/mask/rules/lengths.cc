// lengths(q_lens, kv_lens): of batch entry b only the first q_lens[b] queries and kv_lens[b] keys
// exist. The rest is padding, and the queries stand at kv_lens[b] - q_lens[b] + i.
#include <memory>
#include <utility>
#include <vector>

#include "mask/rule.h"
#include "mask/rule_arguments.h"
#include "raptly/mask.h"

namespace raptly {
namespace mask_detail {
namespace {

using Lens = std::vector<std::int64_t>;

void check_length(const char* name, const Lens& lens, std::size_t b, std::int64_t limit) {
  if (lens[b] <= limit) return;
  fail("lengths", std::string(name) + "s[" + std::to_string(b) + "] is " + std::to_string(lens[b]) +
                      ", " + name + " is " + std::to_string(limit) +
                      ". A length may not exceed the tensor.");
}

class Lengths final : public Rule {
 public:
  Lengths(Lens q_lens, Lens kv_lens) : q_lens_(std::move(q_lens)), kv_lens_(std::move(kv_lens)) {}

  bool sees(const MaskScope& scope, std::int64_t query, std::int64_t key) const override {
    return query < q_len(scope) && key < kv_len(scope);
  }
  TileAnswer answer(const MaskScope& scope, const MaskTile& tile) const override {
    if (tile.first_query >= q_len(scope) || tile.first_key >= kv_len(scope)) {
      return TileAnswer::kEmpty;
    }
    const bool full = tile.last_query() < q_len(scope) && tile.last_key() < kv_len(scope);
    return full ? TileAnswer::kFull : TileAnswer::kPartial;
  }
  void bits(const MaskScope& scope, const MaskTile& tile,
            std::span<std::uint64_t> words) const override {
    const std::uint64_t word = bit_range(0, q_len(scope) - tile.first_query, tile.n_queries);
    for (std::int64_t k = 0; k < tile.n_keys; ++k) {
      words[static_cast<std::size_t>(k)] = tile.first_key + k < kv_len(scope) ? word : 0;
    }
  }
  std::string to_string() const override {
    return "lengths(" + list_text(q_lens_) + ", " + list_text(kv_lens_) + ")";
  }

  MaskScope place(const MaskScope& scope) const override {
    const auto b = static_cast<std::size_t>(scope.batch);
    if (b >= q_lens_.size()) {
      fail("lengths", "there are " + std::to_string(q_lens_.size()) + " lengths, but batch entry " +
                          std::to_string(b) + " was asked for. Give one length for each entry.");
    }
    check_length("q_len", q_lens_, b, scope.q_len);
    check_length("kv_len", kv_lens_, b, scope.kv_len);
    MaskScope placed = scope;
    placed.first_position = kv_lens_[b] - q_lens_[b];
    placed.sequence_kv_len = kv_lens_[b];
    return placed;
  }
  bool moves_tokens() const override { return true; }
  std::int64_t batch() const override { return static_cast<std::int64_t>(q_lens_.size()); }

 private:
  std::int64_t q_len(const MaskScope& scope) const {
    return q_lens_[static_cast<std::size_t>(scope.batch)];
  }
  std::int64_t kv_len(const MaskScope& scope) const {
    return kv_lens_[static_cast<std::size_t>(scope.batch)];
  }
  Lens q_lens_, kv_lens_;
};

void check_not_negative(const char* name, const Lens& lens) {
  for (std::size_t b = 0; b < lens.size(); ++b) {
    if (lens[b] < 0) {
      fail("lengths", std::string(name) + "[" + std::to_string(b) + "] is " +
                          std::to_string(lens[b]) + ". A length must be 0 or more.");
    }
  }
}

}  // namespace

Mask parse_lengths(RuleArguments& args) {
  Lens q_lens = args.integers(0, "q_lens");
  return mask::lengths(std::move(q_lens), args.integers(1, "kv_lens"));
}

}  // namespace mask_detail

Mask mask::lengths(std::vector<std::int64_t> q_lens, std::vector<std::int64_t> kv_lens) {
  if (q_lens.size() != kv_lens.size() || q_lens.empty()) {
    mask_detail::fail("lengths", "q_lens has " + std::to_string(q_lens.size()) +
                                     " entries, kv_lens has " + std::to_string(kv_lens.size()) +
                                     ". Give one of each for each batch entry, and at least one.");
  }
  mask_detail::check_not_negative("q_lens", q_lens);
  mask_detail::check_not_negative("kv_lens", kv_lens);
  return Mask(std::make_shared<mask_detail::Lengths>(std::move(q_lens), std::move(kv_lens)));
}

}  // namespace raptly
