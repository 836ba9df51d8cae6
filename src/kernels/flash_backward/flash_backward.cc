#include "kernels/flash_backward/flash_backward.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/flash_backward/flash_backward.cc"
#include "kernels/simd/targets.h"

#include "hwy/foreach_target.h"
#include "kernels/flash_backward/backward-inl.h"

#if HWY_ONCE
#include "kernels/simd/dispatch.h"

namespace raptly {
namespace scalar {  // flash_backward_scalar.cc
std::size_t backward_workspace_bytes(int head_dim, int v_dim);
void backward_rows(const FlashBackwardItem& item, const QueryStrip& strip, StripTerms& terms,
                   std::byte* workspace) noexcept;
void backward_begin(const FlashBackwardItem& item, const KeyRangeOfItem& range,
                    std::byte* workspace) noexcept;
void backward_chunk(const FlashBackwardItem& item, QueryChunk chunk, const StripTerms* terms,
                    const BackwardSums& sums, std::byte* workspace) noexcept;
void backward_queries(const FlashBackwardItem& item, QueryChunk chunk, const QueryTurn& turn,
                      std::byte* workspace) noexcept;
void backward_end(const FlashBackwardItem& item, std::byte* workspace) noexcept;
void backward_no_keys(const FlashBackwardItem& item, QueryChunk chunk,
                      std::byte* workspace) noexcept;
}  // namespace scalar

int backward_tile_queries(int group) {
  // The fewest queries that leave at most one lane in 64 of the strips empty; if none, the best.
  int best = 1;
  double best_fill = 0;
  for (int queries = 1; queries <= kMaxTileQueries; ++queries) {
    const std::int64_t lanes = std::int64_t{queries} * group;
    const double fill =
        static_cast<double>(lanes) / static_cast<double>(round_up(lanes, kStripLanes));
    if (fill > best_fill + 1e-9) {
      best = queries;
      best_fill = fill;
    }
    if (best_fill >= 63.0 / 64.0) break;
  }
  return best;
}

std::size_t flash_backward_workspace_bytes(int head_dim, int v_dim, Isa isa) {
  return RAPTLY_DISPATCH(isa, backward_workspace_bytes)(head_dim, v_dim);
}
void flash_backward_rows(const FlashBackwardItem& item, const QueryStrip& strip, StripTerms& terms,
                         std::byte* workspace, Isa isa) noexcept {
  RAPTLY_DISPATCH(isa, backward_rows)(item, strip, terms, workspace);
}
void flash_backward_begin(const FlashBackwardItem& item, const KeyRangeOfItem& range,
                          std::byte* workspace, Isa isa) noexcept {
  RAPTLY_DISPATCH(isa, backward_begin)(item, range, workspace);
}
void flash_backward_chunk(const FlashBackwardItem& item, QueryChunk chunk, const StripTerms* terms,
                          const BackwardSums& sums, std::byte* workspace, Isa isa) noexcept {
  RAPTLY_DISPATCH(isa, backward_chunk)(item, chunk, terms, sums, workspace);
}
void flash_backward_queries(const FlashBackwardItem& item, QueryChunk chunk, const QueryTurn& turn,
                            std::byte* workspace, Isa isa) noexcept {
  RAPTLY_DISPATCH(isa, backward_queries)(item, chunk, turn, workspace);
}
void flash_backward_end(const FlashBackwardItem& item, std::byte* workspace, Isa isa) noexcept {
  RAPTLY_DISPATCH(isa, backward_end)(item, workspace);
}
void flash_backward_no_keys(const FlashBackwardItem& item, QueryChunk chunk, std::byte* workspace,
                            Isa isa) noexcept {
  RAPTLY_DISPATCH(isa, backward_no_keys)(item, chunk, workspace);
}

}  // namespace raptly
#endif
