// A mask is data: a small tree of rules that says which query sees which key.
//
// Query i of a sequence stands at position i + kv_len - q_len unless the call gives positions; key
// j stands at position j (its ordinal). Rules are joined with &, print as text and parse from it:
//   Mask m = mask::causal() & mask::window(256, 0);      m.to_string() == "causal & window(256, 0)"
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace raptly {

namespace mask_detail {
class Rule;
}

class Mask {
 public:
  Mask() = default;  // sees everything; prints as "all"
  explicit Mask(std::shared_ptr<const mask_detail::Rule> rule) : rule_(std::move(rule)) {}

  // Throws kInvalidArgument with the column of the mistake, and for text over 1 MiB.
  static Mask parse(std::string_view text);
  std::string to_string() const;
  const mask_detail::Rule* rule() const { return rule_.get(); }  // null: sees everything

  // Throws kInvalidArgument for more than 1024 rules, two lengths(), or sides for different
  // batches.
  friend Mask operator&(const Mask& a, const Mask& b);
  // Equal masks print the same; masks that see the same pairs may still be written differently.
  friend bool operator==(const Mask& a, const Mask& b);

 private:
  std::shared_ptr<const mask_detail::Rule> rule_;
};

namespace mask {

enum class Corner {
  kBottomRight,  // query i sees keys 0 .. i + kv_len - q_len: flash-attn >= 2.1, caches
  kTopLeft,      // query i sees keys 0 .. i: PyTorch's is_causal
};
Mask causal(Corner corner = Corner::kBottomRight);

// A query at position p sees keys p - left .. p + right, both inclusive. nullopt: unbounded.
// Throws kInvalidArgument for a negative count ("use None for no bound").
Mask window(std::optional<std::int64_t> left, std::optional<std::int64_t> right);
// Mistral's count includes the query itself: window(size - 1, 0).
Mask mistral(std::int64_t size);

// Prefix-LM: every query sees the keys at positions 0 .. n-1, and beyond them those up to its own
// place. Throws kInvalidArgument for a negative n.
Mask prefix(std::int64_t n);

// Batch entry b has q_lens[b] queries and kv_lens[b] keys; what lies beyond is padding. Rows beyond
// q_lens[b] see nothing. Positions count from the lengths: bottom-right means kv_lens[b] -
// q_lens[b].
Mask lengths(std::vector<std::int64_t> q_lens, std::vector<std::int64_t> kv_lens);

}  // namespace mask
}  // namespace raptly
