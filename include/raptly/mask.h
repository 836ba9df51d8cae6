// A mask is data: a small tree of rules that says which query sees which key.
//
// Query i of a sequence stands at position i + kv_len - q_len unless the call or the mask gives
// positions; key j stands at position j (its ordinal). Rules are joined with & | ~, print as text
// and parse from it:
//   Mask m = mask::causal() & mask::window(256, 0);      m.to_string() == "causal & window(256, 0)"
// docs/masks.md shows the rules, with pictures.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace raptly {

namespace mask_detail {
class Rule;
}

// What a mask costs where; explain() answers it, averaged or summed over batch entries and heads.
struct MaskShape {
  std::int64_t q_len = 0;
  std::int64_t kv_len = 0;
  std::int64_t batch = 0;    // 0: as many as the mask was written for, or 1
  std::int64_t n_heads = 0;  // the same
  std::int64_t head_dim = 64;
  std::int64_t v_dim = 64;
};
struct MaskReport {
  MaskShape shape;                      // with the zeros filled in
  double pairs = 0, visible_pairs = 0;  // over all batch entries and heads
  double density = 0;                   // visible_pairs / pairs; 0 of 0 is 0
  // Of 64 queries x 128 keys. A tile that counts twice (hf_bigbird) is full or partial twice, and
  // once among tiles_again: tiles() counts it once.
  std::int64_t tiles_full = 0, tiles_partial = 0, tiles_empty = 0, tiles_again = 0;
  double share_skipped = 0;           // tiles_empty / tiles()
  double flops = 0, flops_dense = 0;  // 2 * (head_dim + v_dim) a pair
  double bytes = 0;            // f32 q, out, and keys and values that some query of a head sees
  std::size_t plan_bytes = 0;  // of the largest plan
  std::int64_t n_plans = 0;    // different ones: batch entries and heads that agree share one

  std::int64_t tiles() const { return tiles_full + tiles_partial + tiles_empty - tiles_again; }
  std::string to_string() const;
};

// A picture: the share of visible pairs in each cell, row-major, 0 .. 1.
struct MaskRaster {
  int width = 0, height = 0;
  std::vector<float> density;

  float at(int x, int y) const {
    return density[static_cast<std::size_t>(y) * static_cast<std::size_t>(width) +
                   static_cast<std::size_t>(x)];
  }
};

class Mask {
 public:
  Mask() = default;  // sees everything; prints as "all"
  explicit Mask(std::shared_ptr<const mask_detail::Rule> rule) : rule_(std::move(rule)) {}

  // Throws kInvalidArgument with the column of the mistake, and for text over 1 MiB.
  static Mask parse(std::string_view text);
  // Parses back to an equal mask, unless long lists take it over the 1 MiB of parse().
  std::string to_string() const;
  const mask_detail::Rule* rule() const { return rule_.get(); }  // null: sees everything

  // The three below throw kInvalidArgument when the mask does not fit the lengths, kOutOfMemory
  // when the answer does not fit the memory. [q_len, kv_len], 1: seen, n: seen and counted n times
  // (hf_bigbird). Asks pair by pair: the oracle of the tile plan.
  std::vector<std::uint8_t> materialize(std::int64_t q_len, std::int64_t kv_len,
                                        std::int64_t batch = 0, std::int64_t head = 0) const;
  MaskReport explain(const MaskShape& shape) const;
  // Keys from left to right, queries from top to bottom; at most one cell a query and key.
  MaskRaster draw(std::int64_t q_len, std::int64_t kv_len, int max_width, int max_height,
                  std::int64_t batch = 0, std::int64_t head = 0) const;

  // Each throws kInvalidArgument for more than 1024 rules, rules more than 64 deep, sides for
  // different batches or heads, and two rules that say where tokens stand (lengths, packed,
  // positions) or one of these below | or ~; the same for rules that count pairs more than once
  // (hf_bigbird).
  friend Mask operator&(const Mask& a, const Mask& b);  // seen by both
  friend Mask operator|(const Mask& a, const Mask& b);  // seen by either
  friend Mask operator~(const Mask& a);                 // not seen
  // Equal masks print the same; masks that see the same pairs may still be written differently.
  friend bool operator==(const Mask& a, const Mask& b);

 private:
  std::shared_ptr<const mask_detail::Rule> rule_;
};

// Each throws kInvalidArgument for what its comment rules out.
namespace mask {

// One list for all batch entries, or one list for each: {0, 5} or {{0, 5}, {7}}. Rows of one
// number each, {{0}, {5}}, could be either and do not compile; write them as vectors.
class PerBatch {
 public:
  PerBatch() : rows_(1) {}                     // an empty list for all
  PerBatch(std::vector<std::int64_t> shared);  // NOLINT: a list is meant to convert
  PerBatch(std::initializer_list<std::int64_t> shared);
  PerBatch(std::initializer_list<std::initializer_list<std::int64_t>> rows);
  PerBatch(std::vector<std::vector<std::int64_t>> rows);  // NOLINT; at least one

  bool is_shared() const { return shared_; }
  const std::vector<std::vector<std::int64_t>>& rows() const { return rows_; }
  const std::vector<std::int64_t>& of(std::int64_t batch) const {
    return rows_[shared_ ? 0 : static_cast<std::size_t>(batch)];
  }

 private:
  std::vector<std::vector<std::int64_t>> rows_;
  bool shared_ = true;
};

Mask none();  // sees nothing; Mask() sees everything

// By position.

enum class Corner {
  kBottomRight,  // query i sees keys 0 .. i + kv_len - q_len: flash-attn >= 2.1, caches
  kTopLeft,      // query i sees keys 0 .. i: PyTorch's is_causal
};
Mask causal(Corner corner = Corner::kBottomRight);

// A query at position p sees keys p - left .. p + right, both inclusive. nullopt: unbounded.
// A negative count is an error ("use None for no bound").
Mask window(std::optional<std::int64_t> left, std::optional<std::int64_t> right);
// Mistral's count includes the query itself: window(size - 1, 0).
Mask mistral(std::int64_t size);
// transformers' bidirectional sliding window: window(size, size), 2 * size + 1 keys.
Mask hf_bidirectional(std::int64_t size);
// p + step * t for t = -window .. window; one step, or one for each head. window >= 0, step >= 1.
Mask dilated(std::int64_t window, std::int64_t step);
Mask dilated(std::int64_t window, std::vector<std::int64_t> steps);
// Prefix-LM: every query sees the keys at positions 0 .. n-1, and beyond them those up to its own
// place. n >= 0.
Mask prefix(std::int64_t n);
// Query and key in the same chunk of `size` positions. Llama 4: causal() & chunked(8192).
Mask chunked(std::int64_t size);
// A global token sees every key and is seen by every query. Positions >= 0; batch entries may
// differ.
Mask global_tokens(const PerBatch& positions);

// By lists.

// Equal ids see each other. Sizes q_len and kv_len; one list stands for both.
Mask documents(const PerBatch& q_ids, const PerBatch& kv_ids);
Mask documents(const PerBatch& ids);
// keep: kv_len entries 0 or 1; a key with 0 is seen by no query, wherever it lies.
Mask padding(const PerBatch& keep);
// Query block a (block_size queries) sees the key blocks lists[a], for all heads or for each. No
// block twice, none beyond kv_len; an empty list sees nothing. The last form is FlexAttention's
// BlockMask: inside its partial blocks the mask `inside` decides.
using BlockList = std::vector<std::vector<std::int64_t>>;
Mask blocks(std::int64_t block_size, BlockList lists);
Mask blocks(std::int64_t block_size, std::vector<BlockList> lists_of_heads);
Mask blocks(std::int64_t block_size, std::vector<BlockList> full, std::vector<BlockList> partial,
            const Mask& inside);
// Drafted tokens: the q_len queries are also the last q_len keys. Each sees the keys before those,
// itself and its ancestors; parents[i] is -1 or a node. No cycles.
Mask tree(const PerBatch& parents);
// Flamingo: query i has seen text_media_index[i] images (0: none yet, sees nothing); image m = 1,
// 2, ... has the keys (m - 1) * tokens_per_media and on.
enum class MediaMode { kImmediate, kAllPrevious };
Mask media(const PerBatch& text_media_index, std::int64_t tokens_per_media,
           MediaMode mode = MediaMode::kImmediate);
// Any pairs: seen[batch, n_heads, q_len, kv_len], row-major, not 0: seen. A size of 1 stands for
// all.
struct DenseShape {
  std::int64_t batch = 1, n_heads = 1, q_len = 0, kv_len = 0;
};
Mask dense(std::span<const std::uint8_t> seen, const DenseShape& shape);

// Where tokens stand. One of a mask at most, and only under &.

// Batch entry b has q_lens[b] queries and kv_lens[b] keys; what lies beyond is padding. Rows beyond
// q_lens[b] see nothing. Positions count from the lengths: bottom-right means kv_lens[b] -
// q_lens[b].
Mask lengths(std::vector<std::int64_t> q_lens, std::vector<std::int64_t> kv_lens);
// Many sequences in one (flash-attn's cu_seqlens): each sees only itself, and its positions are its
// own. Lists start with 0, never fall, end with q_len and kv_len; one list stands for both.
Mask packed(std::vector<std::int64_t> cu_q, std::vector<std::int64_t> cu_kv);
Mask packed(std::vector<std::int64_t> cu);
// Query i stands at q_positions[i], key j at kv_positions[j] (at j where not given). Sees all.
Mask positions(const PerBatch& q_positions,
               const std::optional<PerBatch>& kv_positions = std::nullopt);

// Published recipes, by the clean rules of docs/masks.md.

// transformers' attention_window is two-sided and even: half of it on each side. One dilation, or
// one for each head.
Mask longformer(std::int64_t attention_window, const PerBatch& global_tokens = {},
                const std::vector<std::int64_t>& dilation = {1});
enum class BigBirdLayout {
  kItc,  // the first and last block are global
  kEtc,  // num_global_tokens in front are global, blocks count behind them
};
struct BigBirdOptions {
  std::int64_t block_size = 64;
  std::int64_t num_random_blocks = 3;  // for each head and query block; 0 .. 64
  std::int64_t seed = 0;
  BigBirdLayout layout = BigBirdLayout::kItc;
  std::int64_t num_global_tokens = 0;  // of kEtc only
};
Mask bigbird(const BigBirdOptions& options);
Mask bigbird(std::int64_t block_size, std::int64_t num_random_blocks, std::int64_t seed);

// Parity profiles: what transformers computes, quirks included (docs/masks.md).

// Padded tokens, 0 in the attention mask, are seen by nobody and see nothing: their rows give 0.
Mask real_tokens(const PerBatch& attention_mask);
// LongformerSelfAttention with its attention mask: 0 padding, 1 local, 2 global. The second
// projections are AttentionOptions::q_global and its like.
Mask hf_longformer(std::int64_t attention_window, const PerBatch& attention_mask);
// BigBirdBlockSparseAttention. Blocks that its lists hold twice count twice. Without a seed eval
// mode: random blocks are all block 0. With one, training: transformers' own random blocks for
// seq_len tokens (of the padded batch).
struct HfBigBirdOptions {
  std::int64_t block_size = 64;
  std::int64_t num_random_blocks = 3;
  std::optional<std::int64_t> seed;  // transformers: the number of the layer
  std::int64_t n_heads = 0;          // of training only, as the two below
  std::int64_t seq_len = 0;
  std::int64_t max_len = 4096;  // the config's max_position_embeddings
};
Mask hf_bigbird(const HfBigBirdOptions& options);
Mask hf_bigbird(const HfBigBirdOptions& options, const PerBatch& attention_mask);  // & real_tokens

}  // namespace mask
}  // namespace raptly
