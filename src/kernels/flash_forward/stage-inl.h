// The blocks of one split as f32 rows, once for all panels of an item. Keys and values are read in
// place where they are dense f32; else copied: 16-bit values widened, strided rows and pages
// gathered (broadcasting straight from rows far apart costs 16-20 %), evicted keys zero. Rows of
// the copy are padded, so that a column of V does not fall into a few sets of the L1 cache. A block
// is copied in pieces, when they are first seen: BigBird's blocks have 64 keys, and most of them
// serve one row of blocks.
#if defined(RAPTLY_FORWARD_STAGE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RAPTLY_FORWARD_STAGE_INL_H
#undef RAPTLY_FORWARD_STAGE_INL_H
#else
#define RAPTLY_FORWARD_STAGE_INL_H
#endif

#include "kernels/flash_forward/flash_forward.h"
#include "kernels/flash_forward/kv_cursor.h"
#include "kernels/flash_forward/rows-inl.h"
#include "kernels/flash_forward/workspace.h"
#if RAPTLY_TARGET_ENABLED
RAPTLY_BEFORE_TARGET();
namespace raptly {
namespace RAPTLY_TARGET {

constexpr std::int64_t kBlocksPerSplit = kSplitKeys / kBlockKeys;

constexpr std::int64_t kPieceKeys = 32;

struct StagedBlock {
  std::uint32_t ready = 0;  // a bit for each piece
  bool placed = false;
  bool k_in_place = false, v_in_place = false;
  const float* k = nullptr;
  const float* v = nullptr;
  std::int64_t k_stride = 0, v_stride = 0;
};

struct StageMemory {
  float* k;
  float* v;
};
inline std::int64_t stage_stride(std::int64_t dim) { return round_up(dim, 16) + 16; }

template <class T>
class Stage {
 public:
  // many_panels: a copy of dense values pays when at least four panels walk it by columns.
  Stage(const FlashForwardItem& item, const StageMemory& memory, bool many_panels)
      : item_(item),
        cursor_(*item.kv, item.kv_head),
        memory_(memory),
        k_stride_(stage_stride(item.head_dim)),
        v_stride_(stage_stride(item.v_dim)),
        k_in_place_(std::is_same_v<T, float> && item.kv->k_dim_stride == 1 &&
                    item.kv->k_token_stride == item.head_dim),
        v_in_place_(std::is_same_v<T, float> && item.kv->v_dim_stride == 1 &&
                    item.kv->v_token_stride == item.v_dim && k_in_place_ && !many_panels) {}

  void start_split(std::int64_t first_key) {
    first_key_ = first_key;
    for (StagedBlock& block : blocks_) {
      block.ready = 0;
      block.placed = false;
    }
  }

  // The block at first_key, of which keys [begin, end) are staged.
  const StagedBlock& block(std::int64_t first_key, std::int64_t begin, std::int64_t end) {
    StagedBlock& block = blocks_[(first_key - first_key_) / kBlockKeys];
    if (!block.placed) place(first_key, block);
    const std::int64_t from = (begin - first_key) / kPieceKeys,
                       to = (end - first_key + kPieceKeys - 1) / kPieceKeys;
    std::uint32_t missing = ((1u << to) - (1u << from)) & ~block.ready;
    block.ready |= missing;
    for (std::int64_t key = first_key; missing != 0; missing >>= 1, key += kPieceKeys) {
      if ((missing & 1) != 0) fill(key, block);
    }
    return block;
  }

 private:
  // Where its rows are: in the cache, or in memory_ once they have been copied.
  void place(std::int64_t first_key, StagedBlock& block) {
    const std::int64_t end = std::min(first_key + kBlockKeys, item_.kv->length);
    const std::int64_t slot = first_key - first_key_;
    block = {.placed = true,
             .k = memory_.k + slot * k_stride_,
             .v = memory_.v + slot * v_stride_,
             .k_stride = k_stride_,
             .v_stride = v_stride_};
    if constexpr (std::is_same_v<T, float>) {
      const KvSegment<float> whole = cursor_.segment(first_key, end);
      if (whole.k == nullptr || whole.n != end - first_key) return;
      if (k_in_place_) {
        block.k_in_place = true;
        block.k = whole.k;
        block.k_stride = item_.kv->k_token_stride;
      }
      if (v_in_place_) {
        block.v_in_place = true;
        block.v = whole.v;
        block.v_stride = item_.kv->v_token_stride;
      }
    }
    if (block.k_in_place && block.v_in_place) block.ready = ~std::uint32_t{0};
  }

  // A piece of a block.
  void fill(std::int64_t first_key, const StagedBlock& block) {
    const std::int64_t end = std::min(first_key + kPieceKeys, item_.kv->length);
    const KvView& kv = *item_.kv;
    for (std::int64_t key = first_key; key < end;) {
      const KvSegment<T> part = cursor_.segment(key, end);
      const std::int64_t slot = key - first_key_;
      if (!block.k_in_place) {
        copy_rows({part.k, kv.k_token_stride, kv.k_dim_stride}, part.n, item_.head_dim,
                  memory_.k + slot * k_stride_, k_stride_);
      }
      if (!block.v_in_place) {
        copy_rows({part.v, kv.v_token_stride, kv.v_dim_stride}, part.n, item_.v_dim,
                  memory_.v + slot * v_stride_, v_stride_);
      }
      key += part.n;
    }
  }

  struct Source {
    const T* at;  // null: zeros
    std::int64_t token_stride, dim_stride;
  };
  static void copy_rows(const Source& source, std::int64_t n, std::int64_t dim, float* out,
                        std::int64_t out_stride) {
    for (std::int64_t i = 0; i < n; ++i, out += out_stride) {
      if (source.at == nullptr) {
        std::memset(out, 0, static_cast<std::size_t>(dim) * sizeof(float));
      } else {
        widen_row(source.at + i * source.token_stride, source.dim_stride, dim, out);
      }
    }
  }

  const FlashForwardItem& item_;
  KvCursor<T> cursor_;
  StageMemory memory_;
  std::int64_t k_stride_, v_stride_;
  bool k_in_place_, v_in_place_;
  std::int64_t first_key_ = 0;
  StagedBlock blocks_[kBlocksPerSplit];
};

}  // namespace RAPTLY_TARGET
}  // namespace raptly
RAPTLY_AFTER_TARGET();
#endif
#endif
