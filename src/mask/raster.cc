#include <algorithm>
#include <bit>
#include <vector>

#include "mask/rule.h"
#include "raptly/mask.h"

namespace raptly {
namespace {

// Cell c of n covers the items c * len / n .. (c + 1) * len / n - 1.
struct Axis {
  std::int64_t len = 0;
  std::int64_t n = 0;

  std::int64_t begin(std::int64_t cell) const { return cell * len / n; }
  std::int64_t cell(std::int64_t item) const { return ((item + 1) * n - 1) / len; }
  // Items that the cell shares with first .. end - 1.
  std::int64_t overlap(std::int64_t cell, std::int64_t first, std::int64_t end) const {
    return std::min(begin(cell + 1), end) - std::max(begin(cell), first);
  }
};

class Painter {
 public:
  Painter(Axis keys, Axis queries)
      : keys_(keys), queries_(queries), counts_(static_cast<std::size_t>(keys.n * queries.n)) {}

  void paint(const QueryTile& tile) {
    const std::int64_t end = tile.first_query + tile.n_queries;
    for (std::int64_t y = queries_.cell(tile.first_query);
         y < queries_.n && queries_.begin(y) < end; ++y) {
      const std::int64_t rows = queries_.overlap(y, tile.first_query, end);
      const std::int64_t first = std::max(queries_.begin(y), tile.first_query) - tile.first_query;
      const std::uint64_t of_row = mask_detail::bit_range(first, first + rows, kMaxTileQueries);
      for (const TileSpan& span : tile.spans) {
        span.bits ? paint_bits(y, span, of_row) : paint_full(y, span, rows);
      }
    }
  }

  MaskRaster raster() const {
    MaskRaster raster{static_cast<int>(keys_.n), static_cast<int>(queries_.n), {}};
    for (std::int64_t y = 0; y < queries_.n; ++y) {
      for (std::int64_t x = 0; x < keys_.n; ++x) {
        const double pairs = static_cast<double>(keys_.overlap(x, 0, keys_.len)) *
                             static_cast<double>(queries_.overlap(y, 0, queries_.len));
        raster.density.push_back(static_cast<float>(std::min(1.0, counts_[at(x, y)] / pairs)));
      }
    }
    return raster;
  }

 private:
  std::size_t at(std::int64_t x, std::int64_t y) const {
    return static_cast<std::size_t>(y * keys_.n + x);
  }
  void paint_full(std::int64_t y, const TileSpan& span, std::int64_t rows) {
    const std::int64_t end = span.first_key + span.n_keys;
    for (std::int64_t x = keys_.cell(span.first_key); x < keys_.n && keys_.begin(x) < end; ++x) {
      counts_[at(x, y)] += static_cast<double>(rows * keys_.overlap(x, span.first_key, end));
    }
  }
  void paint_bits(std::int64_t y, const TileSpan& span, std::uint64_t of_row) {
    for (std::int64_t k = 0; k < span.n_keys; ++k) {
      counts_[at(keys_.cell(span.first_key + k), y)] += std::popcount(span.bits[k] & of_row);
    }
  }

  Axis keys_, queries_;
  std::vector<double> counts_;
};

}  // namespace

MaskRaster Mask::draw(std::int64_t q_len, std::int64_t kv_len, int max_width, int max_height,
                      std::int64_t batch, std::int64_t head) const {
  constexpr int kMost = 16384;
  if (max_width < 1 || max_height < 1 || max_width > kMost || max_height > kMost) {
    mask_detail::fail("mask", "a picture of " + std::to_string(max_width) + " x " +
                                  std::to_string(max_height) +
                                  " cells was asked for. Both must be 1 .. 16384.");
  }
  const TilePlan plan(*this, bottom_right_scope(q_len, kv_len, batch, head), kMaxTileQueries);
  Painter painter({kv_len, std::min<std::int64_t>(max_width, kv_len)},
                  {q_len, std::min<std::int64_t>(max_height, q_len)});
  for (const QueryTile& tile : plan.tiles()) painter.paint(tile);
  return painter.raster();
}

}  // namespace raptly
