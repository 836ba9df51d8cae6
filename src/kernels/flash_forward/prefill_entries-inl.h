// The entry points of the prefill driver: in the files of this family only, as others build on the
// driver too (kernels/row_statistics).
#if defined(RAPTLY_PREFILL_ENTRIES_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RAPTLY_PREFILL_ENTRIES_INL_H
#undef RAPTLY_PREFILL_ENTRIES_INL_H
#else
#define RAPTLY_PREFILL_ENTRIES_INL_H
#endif

#include "kernels/flash_forward/prefill-inl.h"
#if RAPTLY_TARGET_ENABLED
RAPTLY_BEFORE_TARGET();
namespace raptly {
namespace RAPTLY_TARGET {

std::size_t prefill_workspace_bytes(const FlashForwardSize& size) {
  WorkspaceCutter cutter(nullptr);
  cut_prefill_memory(size, cutter);
  return cutter.used();
}

void flash_prefill(const FlashForwardItem& item, std::byte* workspace) noexcept {
  const FloatingPointMode mode;
  WorkspaceCutter cutter(workspace);
  const PrefillMemory memory = cut_prefill_memory(size_of_item(item), cutter);
  switch (item.kv->dtype) {
    case DType::kF16:
      return prefill_of<F16>(item, memory);
    case DType::kBf16:
      return prefill_of<Bf16>(item, memory);
    default:
      return prefill_of<float>(item, memory);
  }
}

int prefill_tile_queries(int group) {
  // The fewest queries that leave at most one lane in 64 of the panels empty;
  // if none, the best. An empty lane costs as much as a full one.
  int best = 1;
  double best_fill = 0;
  for (int queries = 1; queries <= kMaxTileQueries; ++queries) {
    const std::int64_t lanes = std::int64_t{queries} * group;
    const double fill =
        static_cast<double>(lanes) / static_cast<double>(round_up(lanes, kPanelLanes));
    if (fill > best_fill + 1e-9) {
      best = queries;
      best_fill = fill;
    }
    if (best_fill >= 63.0 / 64.0) break;
  }
  return best;
}

}  // namespace RAPTLY_TARGET
}  // namespace raptly
RAPTLY_AFTER_TARGET();
#endif
#endif
