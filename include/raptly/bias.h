// A bias is added to the scores of attention, after scale and softcap, before mask and softmax:
//   s = softcap(scale * q k) + bias(head, query, key)
// In natural units. None of these but dense() has q_len * kv_len numbers anywhere.
//
// alibi, relative and t5 ask how far query and key are apart, by the positions of the mask: query i
// stands at i + kv_len - q_len and key j at j unless the call or the mask (lengths, packed,
// positions) says otherwise. In packed() each sequence counts for itself; pairs of different
// sequences are hidden, whatever their bias. dense() asks for the indices of its tensor and no
// position.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <utility>
#include <vector>

#include "raptly/tensor.h"

namespace raptly {

namespace bias_detail {
struct Terms;
}

class Bias {
 public:
  Bias() = default;  // none
  explicit Bias(std::shared_ptr<const bias_detail::Terms> terms) : terms_(std::move(terms)) {}
  bool given() const { return terms_ != nullptr; }
  const bias_detail::Terms* terms() const { return terms_.get(); }

 private:
  std::shared_ptr<const bias_detail::Terms> terms_;
};

// Each throws kInvalidArgument for what its comment rules out, kTypeMismatch for dtypes.
namespace bias {

// ALiBi (Press et al., arXiv:2108.12409): -slopes[head] * |query position - key position|; the
// distance is rounded to f32, exact up to 2^24. One list of n_heads slopes for all batch entries,
// or one for each, all of one size. Slopes are finite, at most 2^64 in size.
// lse is that of this formula. BLOOM's slope * j, and flash-attn's causal kernel, give the same out
// and an lse that is larger by slope * (query position).
Bias alibi(std::vector<float> slopes);
Bias alibi(std::initializer_list<float> slopes);
Bias alibi(std::vector<std::vector<float>> slopes_of_batch);

// The slopes of published models. For a power of two all give 2^(-bias_max * (h + 1) / n_heads).
enum class AlibiStyle {
  kPress,  // others: those of the power of two below, then every second one of the double
  kBloom,  // BLOOM and Falcon: the same
  kMpt,    // others: of the power of two above every second one from the second, then the rest
};
// n_heads: 1 .. 65536. bias_max: above 0, at most 64; all published models have 8.
std::vector<float> alibi_slopes(std::int64_t n_heads, AlibiStyle style = AlibiStyle::kPress,
                                float bias_max = 8);

// table [n_heads, 2 * max - 1], any float dtype and strides, copied: table[head, d + max - 1] is
// the bias of a key that stands d positions behind the query (d = k - q); farther keys get the
// first or last entry. Entries are finite, at most 2^64 in size. Throws kOutOfMemory for tables of
// more than 2^28 entries, 512 more a head counted.
Bias relative(const TensorView& table);

// T5's relative_attention_bias, table [num_buckets, n_heads] as checkpoints have it, any float
// dtype and strides, copied. Offsets k - q fall into buckets as in transformers'
// T5Attention._relative_position_bucket: half of the buckets of a direction for small distances,
// one each, the others logarithmic up to max_distance. Encoders are bidirectional, decoders are
// not (their keys behind the query are of bucket 0, and usually masked).
// num_buckets >= 2, bidirectional >= 4; max_distance: more than half the buckets of a direction, at
// most 2^24. Keeps 2 * max_distance + 513 entries a head, and throws kOutOfMemory for more than
// 2^28.
Bias t5(const TensorView& table, bool bidirectional, std::int64_t max_distance = 128);

// tensor [batch, n_heads, q_len, kv_len], f32, f16 or bf16 (f64 with f64 q, k, v), any strides, not
// copied: it must outlive the call. A size of 1 stands for all. -inf hides the pair as a mask does
// (p = 0, whatever key and value hold); other numbers beyond +- 4194048 count as that; NaN reaches
// its row. What a mask hides is read and reaches nothing.
Bias dense(const TensorView& tensor);

}  // namespace bias
}  // namespace raptly
