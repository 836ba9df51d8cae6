#include "cli/mask_picture.h"

#include <algorithm>

namespace raptly {
namespace {

constexpr int kMaxRows = 40;  // lines of a picture: a screen
constexpr const char* kFull = "\u2588";
constexpr const char* kUpper = "\u2580";
constexpr const char* kLower = "\u2584";
constexpr const char* kShades[] = {"\u2591", "\u2592", "\u2593"};

// One pair a cell, two characters wide: about square.
std::string pair_line(const MaskRaster& raster, int y) {
  std::string line;
  for (int x = 0; x < raster.width; ++x) {
    line += raster.at(x, y) > 0 ? std::string(kFull) + kFull : std::string("\u00b7 ");
  }
  return line;
}

const char* two_cells(float upper, float lower) {
  constexpr float kMost = 0.75f, kLeast = 0.02f;  // taken for seen, for unseen beside a seen cell
  if (upper <= 0 && lower <= 0) return " ";
  if (upper >= kMost && lower >= kMost) return kFull;
  if (upper >= kMost && lower < kLeast) return kUpper;
  if (lower >= kMost && upper < kLeast) return kLower;
  const float mean = (upper + lower) / 2;
  return kShades[mean < 1.0f / 3 ? 0 : mean < 2.0f / 3 ? 1 : 2];
}

std::string half_block_line(const MaskRaster& raster, int y) {
  std::string line;
  for (int x = 0; x < raster.width; ++x) {
    line += two_cells(raster.at(x, y), y + 1 < raster.height ? raster.at(x, y + 1) : 0.0f);
  }
  return line;
}

std::string repeat(const char* piece, int n) {
  std::string text;
  for (int i = 0; i < n; ++i) text += piece;
  return text;
}

// The largest picture of about square cells within columns x 2 kMaxRows.
std::pair<int, int> cells(const MaskPictureSize& size, int columns) {
  const double queries_a_key = static_cast<double>(size.q_len) / static_cast<double>(size.kv_len);
  double width = std::min<double>(columns, static_cast<double>(size.kv_len));
  double height = width * queries_a_key;
  if (height > 2 * kMaxRows) {
    height = 2 * kMaxRows;
    width = std::max(8.0, height / queries_a_key);
  }
  const auto round = [](double x) { return std::max(1, static_cast<int>(x + 0.5)); };
  const int wide = even_cells(size.kv_len, std::min(round(width), columns));
  height *= static_cast<double>(wide) / width;
  return {wide, even_cells(size.q_len, round(height))};
}

}  // namespace

int even_cells(std::int64_t len, int most) {
  if (len <= most) return most;
  for (int n = most; 3 * most < 4 * n; --n) {
    if (len % n == 0) return n;
  }
  return most;
}

std::string mask_text_picture(const Mask& mask, const MaskPictureSize& size, int columns) {
  if (size.q_len == 0 || size.kv_len == 0) return "(no pairs)\n";
  columns = std::max(columns - 2, 8);  // the frame
  const bool pairs = 2 * size.kv_len <= columns && size.q_len <= kMaxRows;
  auto [width, height] = cells(size, columns);
  if (pairs) width = static_cast<int>(size.kv_len), height = static_cast<int>(size.q_len);
  const MaskRaster raster =
      mask.draw(size.q_len, size.kv_len, width, height, size.batch, size.head);
  const int wide = pairs ? 2 * raster.width : raster.width;
  std::string text = "\u250c" + repeat("\u2500", wide) + "\u2510\n";
  for (int y = 0; y < raster.height; y += pairs ? 1 : 2) {
    text += "\u2502" + (pairs ? pair_line(raster, y) : half_block_line(raster, y)) + "\u2502\n";
  }
  return text + "\u2514" + repeat("\u2500", wide) + "\u2518\n";
}

}  // namespace raptly
