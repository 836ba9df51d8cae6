// KV caches. A cache owns the keys and values of many sequences and many layers and shows them to
// attention as runs (KvView). Keys are stored with RoPE already applied. docs/kv_caches.md draws
// the layouts and says when to choose which.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "raptly/dtype.h"

namespace raptly {

struct KvView;  // raptly/kv_view.h
using SequenceId = std::int64_t;

struct CacheShape {
  std::int64_t n_layers = 1;
  std::int64_t n_kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t v_dim = 0;     // 0: head_dim
  DType dtype = DType::kF32;  // storage: f32, bf16 or f16; f32 input is rounded to nearest even
};

// What a cache keeps of a sequence: its first n_sinks tokens and what a query sees that looks
// `window` tokens back, itself included. window 0: every token.
struct CacheWindow {
  std::int64_t window = 0;
  std::int64_t n_sinks = 0;
};

struct CacheStats {
  std::int64_t pages_total = 0;     // 0 for a cache without pages, as the next two
  std::int64_t pages_used = 0;      // held by sequences
  std::int64_t pages_shared = 0;    // of those, held more than once
  std::size_t bytes_used = 0;       // memory that sequences hold; what they share counts once
  std::size_t bytes_wasted = 0;     // of bytes_used, places that hold no token
  std::int64_t prefix_lookups = 0;  // whole pages of tokens that add_sequence() looked for
  std::int64_t prefix_hits = 0;     // of those, found
};

// The common interface. A failed call changes nothing. Not thread-safe; distinct caches are free.
class KvCache {
 public:
  virtual ~KvCache() = default;
  virtual const CacheShape& shape() const = 0;

  // A new sequence. `tokens`: what it will begin with; a cache that shares prefixes takes over what
  // it holds of them, at most all but the last (a query must be left to compute), and length() says
  // how much that is. Throws kOutOfMemory.
  SequenceId add_sequence(std::span<const std::int32_t> tokens = {}) { return add(tokens); }
  virtual void remove(SequenceId sequence) = 0;                  // kNotFound
  virtual SequenceId fork(SequenceId sequence) = 0;              // a copy that goes its own way
  virtual std::int64_t length(SequenceId sequence) const = 0;    // tokens it has, evicted ones too
  virtual std::int64_t capacity(SequenceId sequence) const = 0;  // length() that fits, alone

  // Keeps the first n tokens. Throws kInvalidArgument for n below 0 or above length(), and where
  // rollback_point(sequence, n) is not n.
  virtual void truncate(SequenceId sequence, std::int64_t n) = 0;
  // How far back is legal: the most tokens, n at most, that truncate() may keep. n itself, unless
  // the cache evicts: the next query must find every key of its window (0 is always legal).
  std::int64_t rollback_point(SequenceId sequence, std::int64_t n) const;

  virtual CacheWindow window() const { return {}; }
  // Ordinals window().n_sinks .. first_kept - 1 are evicted.
  virtual std::int64_t first_kept(SequenceId sequence) const;
  // Tokens that the sequence may grow by at once (and then be attended to): what fits, and of a
  // rolling cache slack + 1. Longer prompts are given in chunks.
  virtual std::int64_t max_chunk(SequenceId sequence) const;

  // Makes room for lengths[i] more tokens of sequences[i] and counts them as stored: length() grows
  // at once; the values are then written layer by layer with write(). A sequence given twice grows
  // twice. `tokens`, the ids of what is appended [sum of lengths], make it findable for
  // add_sequence(): write all layers before you add one. Throws kContextFull, and kInvalidArgument
  // for a length below 0, a chunk above max_chunk(), or other than the sum of lengths of tokens.
  void extend(std::span<const SequenceId> sequences, std::span<const std::int64_t> lengths,
              std::span<const std::int32_t> tokens = {}) {
    grow(sequences, lengths, tokens);
  }
  // Stores k, v of n tokens of one layer from ordinal `first` on (first + n <= length; the last
  // max_chunk() tokens at most). k is [n, n_kv_heads, head_dim] with token stride k_stride, v [n,
  // n_kv_heads, v_dim] with v_stride; heads are adjacent. May be called from several threads for
  // disjoint (sequence, layer, tokens).
  virtual void write(SequenceId sequence, std::int64_t layer, std::int64_t first, std::int64_t n,
                     const float* k, std::int64_t k_stride, const float* v,
                     std::int64_t v_stride) noexcept = 0;
  // Valid until the sequence is changed.
  virtual KvView view(SequenceId sequence, std::int64_t layer) const = 0;
  virtual std::size_t nbytes() const = 0;  // memory held for keys and values
  virtual CacheStats stats() const = 0;

 private:
  virtual SequenceId add(std::span<const std::int32_t> tokens) = 0;
  virtual void grow(std::span<const SequenceId> sequences, std::span<const std::int64_t> lengths,
                    std::span<const std::int32_t> tokens) = 0;
};

// One block of memory a sequence, `capacity` tokens long, [layer, k|v, head, token, dim].
class ContiguousCache final : public KvCache {
 public:
  // Throws kInvalidArgument for sizes < 1 or dtype f64. Memory is reserved when a sequence is
  // added.
  ContiguousCache(const CacheShape& shape, std::int64_t capacity);
  ~ContiguousCache() override;

  const CacheShape& shape() const override;
  void remove(SequenceId sequence) override;
  SequenceId fork(SequenceId sequence) override;
  std::int64_t length(SequenceId sequence) const override;
  std::int64_t capacity(SequenceId sequence) const override;
  void truncate(SequenceId sequence, std::int64_t n) override;
  void write(SequenceId sequence, std::int64_t layer, std::int64_t first, std::int64_t n,
             const float* k, std::int64_t k_stride, const float* v,
             std::int64_t v_stride) noexcept override;
  KvView view(SequenceId sequence, std::int64_t layer) const override;
  std::size_t nbytes() const override;
  CacheStats stats() const override;

 private:
  SequenceId add(std::span<const std::int32_t> tokens) override;
  void grow(std::span<const SequenceId> sequences, std::span<const std::int64_t> lengths,
            std::span<const std::int32_t> tokens) override;

  struct Impl;
  std::unique_ptr<Impl> impl_;
};

struct RollingOptions {
  std::int64_t window = 0;   // tokens that a query sees, itself included (Mistral's count)
  std::int64_t slack = 0;    // more slots: chunks of slack + 1 tokens, rollback by slack + 1
  std::int64_t n_sinks = 0;  // first tokens that stay for ever (StreamingLLM, arXiv:2309.17453)
};

// The last window + slack tokens of a sequence and its sinks, in a ring: token t >= n_sinks lies in
// slot n_sinks + (t - n_sinks) mod (window + slack). Appending moves nothing and evicts what it
// overwrites; memory does not depend on the length. What lies before the window may still be there
// or not, so nothing may see it: attention_with_cache() and models hide it whatever their mask.
class RollingCache final : public KvCache {
 public:
  // Throws kInvalidArgument for a window < 1, slack or n_sinks < 0, and as ContiguousCache. The
  // memory of a sequence is taken, all of it, when the sequence is added.
  RollingCache(const CacheShape& shape, const RollingOptions& options);
  ~RollingCache() override;

  const CacheShape& shape() const override;
  void remove(SequenceId sequence) override;
  SequenceId fork(SequenceId sequence) override;
  std::int64_t length(SequenceId sequence) const override;
  std::int64_t capacity(SequenceId sequence) const override;  // no end: the largest number
  void truncate(SequenceId sequence, std::int64_t n) override;
  CacheWindow window() const override;
  std::int64_t first_kept(SequenceId sequence) const override;
  std::int64_t max_chunk(SequenceId sequence) const override;
  void write(SequenceId sequence, std::int64_t layer, std::int64_t first, std::int64_t n,
             const float* k, std::int64_t k_stride, const float* v,
             std::int64_t v_stride) noexcept override;
  KvView view(SequenceId sequence, std::int64_t layer) const override;
  std::size_t nbytes() const override;
  CacheStats stats() const override;

 private:
  SequenceId add(std::span<const std::int32_t> tokens) override;
  void grow(std::span<const SequenceId> sequences, std::span<const std::int64_t> lengths,
            std::span<const std::int32_t> tokens) override;

  struct Impl;
  std::unique_ptr<Impl> impl_;
};

struct PagedOptions {
  std::int64_t n_pages = 0;
  std::int64_t page_size = 16;  // tokens, 8 to 256
  // Of the hash that finds shared prefixes. The key keeps callers from choosing collisions, which
  // cost time, never a wrong page: token ids are compared. 0: a random one.
  std::uint64_t hash_key = 0;
  int hash_bits = 64;  // used of the hash, 0 to 64; tests make it small
};

// A pool of pages, each of page_size tokens in all layers, [layer][page][k heads, then v
// heads][token][dim], and a table of pages for each sequence. Pages are shared: a fork holds those
// of its parent, and a sequence added with the tokens that it begins with those of whole pages that
// were stored with the same tokens before, the donor still running or removed. A shared page is
// copied when one of its holders writes to it. Pages of removed sequences stay findable until they
// are needed, the longest unused first, tails of a sequence before its head.
class PagedCache final : public KvCache {
 public:
  // Throws kInvalidArgument for n_pages < 1, page_size not 8 to 256, and as ContiguousCache. The
  // pool is reserved now; memory is touched as pages are used.
  PagedCache(const CacheShape& shape, const PagedOptions& options);
  ~PagedCache() override;

  const CacheShape& shape() const override;
  void remove(SequenceId sequence) override;
  SequenceId fork(SequenceId sequence) override;  // takes no page
  std::int64_t length(SequenceId sequence) const override;
  // What the free pages would take, if this sequence alone grew.
  std::int64_t capacity(SequenceId sequence) const override;
  void truncate(SequenceId sequence, std::int64_t n) override;
  void write(SequenceId sequence, std::int64_t layer, std::int64_t first, std::int64_t n,
             const float* k, std::int64_t k_stride, const float* v,
             std::int64_t v_stride) noexcept override;
  KvView view(SequenceId sequence, std::int64_t layer) const override;
  std::size_t nbytes() const override;
  CacheStats stats() const override;

  // Moves a sequence out of the pool and back. Meanwhile it has a length and can be removed;
  // everything else throws kInvalidArgument. Coming back it shares what prefixes it finds, and
  // throws kContextFull when the pool has not the pages. Both do nothing where nothing is to do.
  void swap_out(SequenceId sequence);
  void swap_in(SequenceId sequence);

  // Empty, or the first invariant found broken: a bug of raptly. O(pages of the pool and of all
  // sequences, times layers); builds without NDEBUG assert it after each change.
  std::string check_valid() const;

 private:
  SequenceId add(std::span<const std::int32_t> tokens) override;
  void grow(std::span<const SequenceId> sequences, std::span<const std::int64_t> lengths,
            std::span<const std::int32_t> tokens) override;

  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace raptly
