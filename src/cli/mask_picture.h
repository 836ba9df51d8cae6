// A mask as text for a terminal, and as an image.
#pragma once

#include <string>

#include "raptly/mask.h"

namespace raptly {

struct MaskPictureSize {
  std::int64_t q_len = 0, kv_len = 0;
  std::int64_t batch = 0, head = 0;  // which entry and head is drawn
};

// How many cells to cut len items into: most, or a little less where all can be of one size, which
// keeps the edges of blocks sharp.
int even_cells(std::int64_t len, int most);

// At most `columns` wide, framed, without colour. Small masks: one pair is two characters. Large
// ones: one character is two cells, upper and lower, each many pairs; a cell that is partly seen is
// a shade, and one seen pair is enough for the lightest.
std::string mask_text_picture(const Mask& mask, const MaskPictureSize& size, int columns);

// 8-bit image, at most about 512 pixels wide and high; a pair of a small mask is a square. Throws
// kIo.
void write_mask_png(const Mask& mask, const MaskPictureSize& size, const std::string& path);

}  // namespace raptly
