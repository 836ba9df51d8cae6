#include "kernels/row_statistics/row_statistics.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/row_statistics/row_statistics.cc"
#include "kernels/simd/targets.h"

#include "hwy/foreach_target.h"
#include "kernels/row_statistics/row_statistics-inl.h"

#if HWY_ONCE
#include "kernels/simd/dispatch.h"

namespace raptly {
namespace scalar {  // row_statistics_scalar.cc
std::size_t statistics_workspace_bytes(const FlashForwardSize& size);
void row_statistics_rows(const RowStatisticsItem& item, std::byte* workspace) noexcept;
void column_mass_keys(const ColumnMassItem& item, std::byte* workspace) noexcept;
}  // namespace scalar

std::size_t row_statistics_workspace_bytes(const FlashForwardSize& size, Isa isa) {
  return RAPTLY_DISPATCH(isa, statistics_workspace_bytes)(size);
}
void row_statistics(const RowStatisticsItem& item, std::byte* workspace, Isa isa) noexcept {
  RAPTLY_DISPATCH(isa, row_statistics_rows)(item, workspace);
}
void column_mass(const ColumnMassItem& item, std::byte* workspace, Isa isa) noexcept {
  RAPTLY_DISPATCH(isa, column_mass_keys)(item, workspace);
}

}  // namespace raptly
#endif
