// The statistics as textbook loops in double: what tests compare with, and the f64 path.
#pragma once

#include <functional>

#include "kernels/row_statistics/row_statistics.h"

namespace raptly {

using SeesPair = std::function<int(std::int64_t, std::int64_t)>;

// Head item.rows.first_head, all queries 0 .. q_len - 1, over the keys that sees(query, key), as
// often as it says; item.rows.tiles is not read.
void row_statistics_reference(const RowStatisticsItem& item, const SeesPair& sees);
void column_mass_reference(const ColumnMassItem& item, std::int64_t q_len, const SeesPair& sees);

}  // namespace raptly
