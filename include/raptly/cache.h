// KV caches. A cache owns the keys and values of many sequences and many layers and shows them to
// attention as runs (KvView). Keys are stored with RoPE already applied.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

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

// The common interface. A failed call changes nothing. Not thread-safe; distinct caches are free.
class KvCache {
 public:
  virtual ~KvCache() = default;
  virtual const CacheShape& shape() const = 0;

  virtual SequenceId add_sequence() = 0;                           // kOutOfMemory
  virtual void remove(SequenceId sequence) = 0;                    // kNotFound
  virtual SequenceId fork(SequenceId sequence) = 0;                // a copy that goes its own way
  virtual std::int64_t length(SequenceId sequence) const = 0;      // tokens stored
  virtual std::int64_t capacity(SequenceId sequence) const = 0;    // tokens that fit
  virtual void truncate(SequenceId sequence, std::int64_t n) = 0;  // keep the first n tokens

  // Makes room for lengths[i] more tokens of sequences[i] and counts them as stored: length() grows
  // at once; the values are then written layer by layer with write(). A sequence given
  // twice grows twice. Throws kContextFull, and kInvalidArgument for a length below 0 (nothing
  // grown).
  virtual void extend(std::span<const SequenceId> sequences,
                      std::span<const std::int64_t> lengths) = 0;
  // Stores k, v of n tokens of one layer from ordinal `first` on (first + n <= length). k is
  // [n, n_kv_heads, head_dim] with token stride k_stride, v [n, n_kv_heads, v_dim] with v_stride;
  // heads are adjacent. May be called from several threads for disjoint (sequence, layer, tokens).
  virtual void write(SequenceId sequence, std::int64_t layer, std::int64_t first, std::int64_t n,
                     const float* k, std::int64_t k_stride, const float* v,
                     std::int64_t v_stride) noexcept = 0;
  // Valid until the sequence is changed.
  virtual KvView view(SequenceId sequence, std::int64_t layer) const = 0;
  virtual std::size_t nbytes() const = 0;  // memory held for keys and values
};

// One block of memory a sequence, `capacity` tokens long, [layer, k|v, head, token, dim].
class ContiguousCache final : public KvCache {
 public:
  // Throws kInvalidArgument for sizes < 1 or dtype f64. Memory is reserved when a sequence is
  // added.
  ContiguousCache(const CacheShape& shape, std::int64_t capacity);
  ~ContiguousCache() override;

  const CacheShape& shape() const override;
  SequenceId add_sequence() override;
  void remove(SequenceId sequence) override;
  SequenceId fork(SequenceId sequence) override;
  std::int64_t length(SequenceId sequence) const override;
  std::int64_t capacity(SequenceId sequence) const override;
  void truncate(SequenceId sequence, std::int64_t n) override;
  void extend(std::span<const SequenceId> sequences,
              std::span<const std::int64_t> lengths) override;
  void write(SequenceId sequence, std::int64_t layer, std::int64_t first, std::int64_t n,
             const float* k, std::int64_t k_stride, const float* v,
             std::int64_t v_stride) noexcept override;
  KvView view(SequenceId sequence, std::int64_t layer) const override;
  std::size_t nbytes() const override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace raptly
