// dense(shape, bits): any pairs at all. shape is [batch, n_heads, q_len, kv_len]; a 1 stands for
// every entry. The text holds the bits in base64: pairs in row-major order, the lowest bit of a
// byte first (numpy.packbits(seen, bitorder="little")).
#include <algorithm>
#include <array>
#include <memory>
#include <utility>
#include <vector>

#include "mask/base64.h"
#include "mask/per_batch.h"
#include "raptly/mask.h"

namespace raptly {
namespace mask_detail {
namespace {

std::string shape_text(const mask::DenseShape& shape) {
  const std::vector<std::int64_t> sizes = {shape.batch, shape.n_heads, shape.q_len, shape.kv_len};
  return list_text(sizes);
}

// Bit k of word i becomes bit i of word k: quarters change places, then quarters of quarters.
void transpose(std::array<std::uint64_t, 64>& square) {
  std::uint64_t mask = 0x00000000FFFFFFFFu;
  for (std::size_t j = 32; j > 0; j /= 2, mask ^= mask << j) {
    for (std::size_t k = 0; k < 64; k = (k + j + 1) & ~j) {
      const std::uint64_t swap = ((square[k] >> j) ^ square[k + j]) & mask;
      square[k] ^= swap << j;
      square[k + j] ^= swap;
    }
  }
}

class Dense final : public Rule {
 public:
  // Rows of kv_len bits, each padded to whole words, for the planner's sake.
  Dense(const mask::DenseShape& shape, std::vector<std::uint64_t> words)
      : shape_(shape), row_words_((shape.kv_len + 63) / 64), words_(std::move(words)) {}

  bool sees(const MaskScope& scope, std::int64_t query, std::int64_t key) const override {
    const std::int64_t k = shape_.kv_len == 1 ? 0 : key;
    return row(scope, query)[k / 64] >> (k % 64) & 1;
  }
  TileAnswer answer(const MaskScope& scope, const MaskTile& tile) const override {
    const std::int64_t begin = shape_.kv_len == 1 ? 0 : tile.first_key;
    const std::int64_t end = shape_.kv_len == 1 ? 1 : tile.first_key + tile.n_keys;
    const std::int64_t n_rows = shape_.q_len == 1 ? 1 : tile.n_queries;
    bool any = false, all = true;
    for (std::int64_t i = 0; i < n_rows; ++i) {
      const std::uint64_t* words = row(scope, tile.first_query + i);
      for (std::int64_t w = begin / 64; w * 64 < end; ++w) {
        const std::uint64_t asked = bit_range(begin - w * 64, end - w * 64, 64);
        any |= (words[w] & asked) != 0;
        all &= (words[w] & asked) == asked;
        if (any && !all) return TileAnswer::kPartial;
      }
    }
    return all ? TileAnswer::kFull : TileAnswer::kEmpty;
  }
  void bits(const MaskScope& scope, const MaskTile& tile,
            std::span<std::uint64_t> words) const override {
    if (shape_.kv_len == 1) return Rule::bits(scope, tile, words);
    for (std::int64_t k = 0; k < tile.n_keys; k += 64) {
      std::array<std::uint64_t, 64> square{};  // a word a query
      for (std::int64_t i = 0; i < tile.n_queries; ++i) {
        square[static_cast<std::size_t>(i)] =
            word_at(row(scope, tile.first_query + i), tile.first_key + k);
      }
      transpose(square);
      const auto n = static_cast<std::ptrdiff_t>(std::min<std::int64_t>(64, tile.n_keys - k));
      std::copy(square.begin(), square.begin() + n, words.begin() + k);
    }
  }
  std::string to_string() const override {
    return "dense(" + shape_text(shape_) + ", \"" + base64(packed_bits()) + "\")";
  }
  void check(const MaskScope& scope) const override {
    check_entry("dense", batch(), scope);
    check_head("dense", n_heads(), scope);
    if (shape_.q_len != 1) check_size("dense", "its q_len", shape_.q_len, "q_len", scope.q_len);
    if (shape_.kv_len != 1) {
      check_size("dense", "its kv_len", shape_.kv_len, "kv_len", scope.kv_len);
    }
  }
  std::int64_t batch() const override { return shape_.batch == 1 ? 0 : shape_.batch; }
  std::int64_t n_heads() const override { return shape_.n_heads == 1 ? 0 : shape_.n_heads; }
  bool same_heads(std::int64_t a, std::int64_t b) const override {
    return a == b || shape_.n_heads == 1;
  }

 private:
  const std::uint64_t* row(const MaskScope& scope, std::int64_t query) const {
    const std::int64_t b = shape_.batch == 1 ? 0 : scope.batch;
    const std::int64_t h = shape_.n_heads == 1 ? 0 : scope.head;
    const std::int64_t q = shape_.q_len == 1 ? 0 : query;
    return words_.data() + ((b * shape_.n_heads + h) * shape_.q_len + q) * row_words_;
  }
  // 64 bits of a row from key on, with zeros behind its end.
  std::uint64_t word_at(const std::uint64_t* row, std::int64_t key) const {
    const std::int64_t word = key / 64, shift = key % 64;
    std::uint64_t bits = row[word] >> shift;
    if (shift > 0 && word + 1 < row_words_) bits |= row[word + 1] << (64 - shift);
    return bits;
  }
  std::vector<std::uint8_t> packed_bits() const {
    const std::int64_t rows = shape_.kv_len == 0 ? 0 : shape_.batch * shape_.n_heads * shape_.q_len;
    std::vector<std::uint8_t> bytes(static_cast<std::size_t>((rows * shape_.kv_len + 7) / 8));
    std::size_t at = 0;
    for (std::int64_t r = 0; r < rows; ++r) {
      const std::uint64_t* words = words_.data() + r * row_words_;
      for (std::int64_t k = 0; k < shape_.kv_len; ++k, ++at) {
        bytes[at / 8] |= static_cast<std::uint8_t>((words[k / 64] >> (k % 64) & 1) << (at % 8));
      }
    }
    return bytes;
  }

  mask::DenseShape shape_;
  std::int64_t row_words_;
  std::vector<std::uint64_t> words_;
};

// batch * n_heads * q_len * kv_len, checked.
std::int64_t count_pairs(const mask::DenseShape& shape) {
  constexpr std::int64_t kMost = std::int64_t{1} << 40;
  std::int64_t pairs = 1;
  for (const std::int64_t size : {shape.batch, shape.n_heads, shape.q_len, shape.kv_len}) {
    if (size < 0 || size > kMost || (size > 0 && pairs > kMost / size)) {
      fail("dense", "its shape is " + shape_text(shape) +
                        ". Sizes must be 0 or more, with at most 2^40 pairs.");
    }
    pairs *= size;
  }
  if (shape.batch == 0 || shape.n_heads == 0) {
    fail("dense", "its shape has no batch entry or no head. Use 1 for all of them.");
  }
  return pairs;
}

template <class Seen>  // Seen(i): whether pair i is seen
Mask make_dense(const mask::DenseShape& shape, const Seen& seen) {
  const std::int64_t row_words = (shape.kv_len + 63) / 64;
  // No rows where rows are empty: a text may claim 2^40 of them.
  const std::int64_t rows = shape.kv_len == 0 ? 0 : shape.batch * shape.n_heads * shape.q_len;
  std::vector<std::uint64_t> words(static_cast<std::size_t>(rows * row_words));
  std::int64_t at = 0;
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t k = 0; k < shape.kv_len; ++k, ++at) {
      words[static_cast<std::size_t>(r * row_words + k / 64)] |= std::uint64_t{seen(at)}
                                                                 << (k % 64);
    }
  }
  return Mask(std::make_shared<Dense>(shape, std::move(words)));
}

}  // namespace

Mask parse_dense(RuleArguments& args) {
  const std::vector<std::int64_t> sizes = args.integers(0, "shape");
  if (sizes.size() != 4) {
    fail("dense", "shape has " + std::to_string(sizes.size()) +
                      " entries. It must be [batch, n_heads, q_len, kv_len].");
  }
  const mask::DenseShape shape{sizes[0], sizes[1], sizes[2], sizes[3]};
  const std::int64_t pairs = count_pairs(shape);
  const std::vector<std::uint8_t> bytes = from_base64(args.text(1, "bits"));
  if (static_cast<std::int64_t>(bytes.size()) != (pairs + 7) / 8) {
    fail("dense", "bits holds " + std::to_string(bytes.size()) + " bytes, its shape needs " +
                      std::to_string((pairs + 7) / 8) + ".");
  }
  return make_dense(shape, [&](std::int64_t i) {
    return (bytes[static_cast<std::size_t>(i / 8)] >> (i % 8) & 1) != 0;
  });
}

}  // namespace mask_detail

Mask mask::dense(std::span<const std::uint8_t> seen, const DenseShape& shape) {
  const std::int64_t pairs = mask_detail::count_pairs(shape);
  if (static_cast<std::int64_t>(seen.size()) != pairs) {
    mask_detail::fail("dense", "seen has " + std::to_string(seen.size()) +
                                   " entries, its shape needs " + std::to_string(pairs) + ".");
  }
  return mask_detail::make_dense(
      shape, [&](std::int64_t i) { return seen[static_cast<std::size_t>(i)] != 0; });
}

}  // namespace raptly
