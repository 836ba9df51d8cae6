// What the caches have in common: checks of what a caller gives, and storing a token's rows.
#pragma once

#include <map>
#include <span>
#include <string>

#include "raptly/cache.h"
#include "raptly/error.h"

namespace raptly {

// `where` begins the message of each error: the class.
[[noreturn]] void reject(const char* where, const std::string& what,
                         ErrorCode code = ErrorCode::kInvalidArgument);
void check_size(const char* where, const char* name, std::int64_t value, std::int64_t least = 1);
// The shape with v_dim filled in. Throws for what CacheShape does not allow.
CacheShape checked_shape(const char* where, CacheShape shape);
// Throws kOutOfMemory where `tokens` tokens would need 2^62 bytes: below, no product overflows.
void check_bytes(const char* where, const CacheShape& shape, std::int64_t tokens);
void check_layer(const char* where, const CacheShape& shape, std::int64_t layer);
void check_truncate(const char* where, std::int64_t n, std::int64_t length);

// How much each sequence of a call grows. Throws kInvalidArgument for lengths below 0, or that do
// not match the sequences or the tokens.
std::map<SequenceId, std::int64_t> growth(const char* where, std::span<const SequenceId> sequences,
                                          std::span<const std::int64_t> lengths,
                                          std::span<const std::int32_t> tokens);

// Bytes of keys and values of one token, all layers.
std::size_t token_bytes(const CacheShape& shape);

// The rows of one token: `from` [n_heads, dim] to rows `head_stride` elements apart.
void store_rows(const CacheShape& shape, bool value, const float* from, std::byte* to,
                std::int64_t head_stride) noexcept;

// The sequences of a cache, by id; ids are never used twice.
template <class Sequence>
class SequenceTable {
 public:
  explicit SequenceTable(const char* where) : where_(where) {}

  SequenceId add(Sequence sequence) {
    sequences_.emplace(next_, std::move(sequence));
    return next_++;
  }
  void erase(SequenceId id) { sequences_.erase(id); }
  const Sequence& get(SequenceId id) const {
    const auto found = sequences_.find(id);
    if (found != sequences_.end()) return found->second;
    reject(
        where_,
        "sequence " + std::to_string(id) + " is not in the cache. It was never added, or removed.",
        ErrorCode::kNotFound);
  }
  Sequence& get(SequenceId id) {
    return const_cast<Sequence&>(static_cast<const SequenceTable*>(this)->get(id));
  }
  // Of a sequence that is there.
  const Sequence& known(SequenceId id) const noexcept { return sequences_.find(id)->second; }

  auto begin() const { return sequences_.begin(); }
  auto end() const { return sequences_.end(); }

 private:
  const char* where_;
  std::map<SequenceId, Sequence> sequences_;
  SequenceId next_ = 0;
};

}  // namespace raptly
