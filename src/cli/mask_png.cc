#include <png.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <system_error>
#include <vector>

#include "cli/mask_picture.h"
#include "raptly/error.h"

namespace raptly {
namespace {

constexpr int kMaxCells = 512;
constexpr int kSmallSide = 384;  // small masks grow to about this many pixels
constexpr int kGridFrom = 8;     // pixels a cell from which on a line lies between cells
constexpr int kMargin = 8;
constexpr std::uint8_t kPaper = 255, kLine = 254;  // colours; 0 .. 253: the share seen

// Unseen is light grey, seen dark blue.
std::vector<std::uint8_t> colours() {
  constexpr int kUnseen[] = {236, 239, 244}, kSeen[] = {20, 64, 124};
  std::vector<std::uint8_t> map;
  for (int i = 0; i <= 253; ++i) {
    for (int c = 0; c < 3; ++c) {
      map.push_back(static_cast<std::uint8_t>(kUnseen[c] + (kSeen[c] - kUnseen[c]) * i / 253));
    }
  }
  map.insert(map.end(), {255, 255, 255});  // kLine
  map.insert(map.end(), {255, 255, 255});  // kPaper
  return map;
}

struct Image {
  int width = 0, height = 0;
  std::vector<std::uint8_t> pixels;
};

// A seen share above 0 stays visible: at least a twelfth of the way to the full colour.
std::uint8_t shade(float share) {
  if (share <= 0) return 0;
  return static_cast<std::uint8_t>(std::clamp(21.0f + 232.0f * share, 21.0f, 253.0f));
}

Image paint(const MaskRaster& raster) {
  const int cells = std::max({raster.width, raster.height, 1});
  const int side = std::max(1, kSmallSide / cells);
  Image image;
  image.width = raster.width * side + 2 * kMargin;
  image.height = raster.height * side + 2 * kMargin;
  image.pixels.assign(
      static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height), kPaper);
  for (int y = 0; y < raster.height * side; ++y) {
    std::uint8_t* row =
        image.pixels.data() +
        static_cast<std::size_t>(y + kMargin) * static_cast<std::size_t>(image.width) + kMargin;
    for (int x = 0; x < raster.width * side; ++x) {
      const bool line = side >= kGridFrom && (x % side == side - 1 || y % side == side - 1);
      row[x] = line ? kLine : shade(raster.at(x / side, y / side));
    }
  }
  return image;
}

// Not libpng's own writing to a file: that removes whatever the path names when the disk is full,
// a device too.
void write_file(const std::string& path, std::string_view bytes) {
  errno = 0;
  std::ofstream file(path, std::ios::binary);
  const bool opened = file.is_open();
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  if (file) return;
  const std::string reason = std::generic_category().message(errno);
  std::error_code ignored;
  if (opened && std::filesystem::is_regular_file(path, ignored)) {
    std::filesystem::remove(path, ignored);
  }
  throw Error(ErrorCode::kIo, "[cli] " + path + " could not be written: " + reason + ".");
}

}  // namespace

void write_mask_png(const Mask& mask, const MaskPictureSize& size, const std::string& path) {
  const double longest = static_cast<double>(std::max({size.q_len, size.kv_len, std::int64_t{1}}));
  const auto cells = [&](std::int64_t len) {
    const double n = static_cast<double>(len) * std::min(1.0, kMaxCells / longest);
    return even_cells(len, std::max(1, static_cast<int>(n + 0.5)));
  };
  const Image painted = paint(mask.draw(size.q_len, size.kv_len, cells(size.kv_len),
                                        cells(size.q_len), size.batch, size.head));
  const std::vector<std::uint8_t> map = colours();
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = static_cast<png_uint_32>(painted.width);
  image.height = static_cast<png_uint_32>(painted.height);
  image.format = PNG_FORMAT_RGB_COLORMAP;
  image.colormap_entries = 256;
  png_alloc_size_t n_bytes = PNG_IMAGE_PNG_SIZE_MAX(image);
  std::vector<char> bytes(n_bytes);
  if (!png_image_write_to_memory(&image, bytes.data(), &n_bytes, 0, painted.pixels.data(), 0,
                                 map.data())) {
    throw Error(ErrorCode::kIo, std::string("[cli] libpng: ") + image.message + ".");
  }
  write_file(path, {bytes.data(), n_bytes});
}

}  // namespace raptly
