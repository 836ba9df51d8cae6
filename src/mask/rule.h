// A rule: one leaf or inner node of a mask tree.
//
// A rule answers whole rectangles of (query, key) pairs as empty, full or partial without asking
// pairs: in O(1) or O(log n), for block lists and bigbird in O(log n) a query block, for dense in
// the bits of the tile. So planning asks tiles. To add a rule: one file in rules/ with a class of
// this interface and a parse_NAME function, and one line in rule_table.h.
#pragma once

#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "mask/tile_plan.h"

namespace raptly::mask_detail {

enum class TileAnswer : std::uint8_t { kEmpty, kPartial, kFull };

// Queries [first_query, first_query + n_queries) x keys [first_key, first_key + n_keys); both
// counts are at least 1.
struct MaskTile {
  std::int64_t first_query = 0;
  std::int64_t n_queries = 0;
  std::int64_t first_key = 0;
  std::int64_t n_keys = 0;

  std::int64_t last_query() const { return first_query + n_queries - 1; }
  std::int64_t last_key() const { return first_key + n_keys - 1; }
};

// Bits lo .. hi-1 of a word, both clamped to 0 .. n; n <= 64.
constexpr std::uint64_t bit_range(std::int64_t lo, std::int64_t hi, std::int64_t n) {
  if (lo < 0) lo = 0;
  if (hi > n) hi = n;
  if (lo >= hi) return 0;
  return (~std::uint64_t{0} >> (64 - (hi - lo))) << lo;
}

// How tightly the text of a rule binds: ~ before & before |.
enum class Binding : std::uint8_t { kOr, kAnd, kTight };

class Rule {
 public:
  virtual ~Rule() = default;

  // The definition of the rule, checked against NumPy; the other answers must agree with it. The
  // scope of this and the next two is a placed one (place_mask).
  virtual bool sees(const MaskScope& scope, std::int64_t query, std::int64_t key) const = 0;

  // kEmpty and kFull must hold for every pair of the tile; kPartial may be said whenever it is
  // cheaper.
  virtual TileAnswer answer(const MaskScope& scope, const MaskTile& tile) const = 0;

  // words[key - tile.first_key]: bit i says that query first_query + i sees the key; bits from
  // n_queries on are 0. n_queries <= kMaxTileQueries, n_keys <= kBlockKeys. The default asks sees()
  // pair by pair.
  virtual void bits(const MaskScope& scope, const MaskTile& tile,
                    std::span<std::uint64_t> words) const;

  // Parses back to an equal mask (below 1 MiB of text); equal masks print the same.
  virtual std::string to_string() const = 0;
  virtual Binding binding() const { return Binding::kTight; }

  // Rules that say where tokens stand (lengths, packed, positions) place the scope. At most one of
  // a tree does, and only under &: what is padding must stay unseen. Throws kInvalidArgument when
  // the rule does not fit the scope.
  virtual bool moves_tokens() const { return false; }
  virtual MaskScope place(const MaskScope& scope) const { return scope; }
  // Throws kInvalidArgument when the rule does not fit the placed scope (lists of another length).
  virtual void check(const MaskScope& /*scope*/) const {}

  // The number of batch entries, or heads, that the rule was written for; 0: any.
  virtual std::int64_t batch() const { return 0; }
  virtual std::int64_t n_heads() const { return 0; }
  // Whether two heads see the same pairs, so that they may share a plan.
  virtual bool same_heads(std::int64_t /*a*/, std::int64_t /*b*/) const { return true; }

  // Queries from a multiple of it on see the same keys, as far as this rule goes: tiles that end
  // with these blocks are full more often.
  virtual std::int64_t query_block() const { return 1; }

  // How often a pair may be seen, and counted, at most. The three answers above are for pairs that
  // are seen more than scope.copy times; most rules see a pair once and do not look at it.
  virtual int max_copies() const { return 1; }

  // Whether some tokens are global, with projections of their own if the call has them, and their
  // queries in a placed scope, in any order. A junction has those of its rules, ~ has none.
  virtual bool has_globals() const { return false; }
  virtual void add_globals(const MaskScope& /*scope*/, std::vector<std::int64_t>& /*out*/) const {}

  // Nodes of this tree, and its longest path, itself included.
  virtual int n_rules() const { return 1; }
  virtual int depth() const { return 1; }
};

using RulePtr = std::shared_ptr<const Rule>;

[[noreturn]] void fail_out_of_memory(const MaskScope& scope);
// f(), where memory may run out: lengths may be up to 2^48, memory is less.
template <class F>
auto within_memory(const MaskScope& scope, const F& f) {
  try {
    return f();
  } catch (const std::bad_alloc&) {
  } catch (const std::length_error&) {
  }
  fail_out_of_memory(scope);
}

// Limits of a mask tree, in text or built in code: enough for any real mask, and small enough that
// recursion over a tree is safe.
constexpr int kMaxRules = 1024;
constexpr int kMaxDepth = 64;

// The scope with its tokens placed, after every check of the mask. Throws kInvalidArgument.
MaskScope place_mask(const Mask& mask, const MaskScope& scope);

// Throws kInvalidArgument "[where] message".
[[noreturn]] void fail(const char* where, const std::string& message);
// Fails unless range.least <= value <= range.most.
struct NumberRange {
  std::int64_t least, most;
};
void check_number(const char* where, const char* name, std::int64_t value, NumberRange range);

}  // namespace raptly::mask_detail
