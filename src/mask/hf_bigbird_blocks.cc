#include "mask/hf_bigbird_blocks.h"

#include <algorithm>
#include <numeric>
#include <random>
#include <string>
#include <utility>

#include "mask/rule.h"

namespace raptly::mask_detail {
namespace {

using Blocks = std::vector<std::int64_t>;

// np.random.seed(seed); np.random.permutation(list): the Mersenne Twister, masked rejection.
class LegacyNumpy {
 public:
  explicit LegacyNumpy(std::int64_t seed) : twister_(static_cast<std::uint32_t>(seed)) {}

  Blocks permutation(Blocks list) {
    for (std::size_t i = list.size(); i-- > 1;) std::swap(list[i], list[up_to(i)]);
    return list;
  }

 private:
  std::size_t up_to(std::size_t most) {
    std::size_t mask = most;
    for (int shift = 1; shift < 32; shift *= 2) mask |= mask >> shift;
    for (;;) {
      const std::size_t value = twister_() & mask;
      if (value <= most) return value;
    }
  }
  std::mt19937 twister_;
};

Blocks range(std::int64_t begin, std::int64_t end) {
  Blocks list(static_cast<std::size_t>(std::max<std::int64_t>(0, end - begin)));
  std::iota(list.begin(), list.end(), begin);
  return list;
}

class Drawing {
 public:
  explicit Drawing(const mask::HfBigBirdOptions& options)
      : o_(options),
        n_((options.seq_len + options.block_size - 1) / options.block_size),
        numpy_(*options.seed),
        heads_(static_cast<std::size_t>(options.n_heads),
               Blocks(static_cast<std::size_t>((n_ - 2) * options.num_random_blocks))) {}

  std::vector<Blocks> draw() {
    const std::int64_t len = n_ * o_.block_size;
    if (len == 1024 || len == 3072 || len == 4096) {
      for (std::size_t head = 0; head < heads_.size(); ++head) draw_paper(head);
    } else {
      draw_plans();
    }
    return std::move(heads_);
  }

 private:
  // Into the columns of row `row` from `column` on. One block fills them all, as NumPy assigns.
  void put(std::size_t head, std::int64_t row, std::int64_t column, const Blocks& drawn,
           std::int64_t wanted) {
    const auto n = static_cast<std::int64_t>(drawn.size());
    if (n < wanted && n != 1) {
      fail("hf_bigbird", "transformers finds " + std::to_string(n) + " of " +
                             std::to_string(wanted) + " random blocks for block row " +
                             std::to_string(row) + " and fails. Use bigbird, which draws as many " +
                             "as there are.");
    }
    if (row >= n_ - 1) return;  // cut off later
    for (std::int64_t i = 0; i < wanted; ++i) {
      heads_[head][static_cast<std::size_t>((row - 1) * o_.num_random_blocks + column + i)] =
          drawn[n == 1 ? 0 : static_cast<std::size_t>(i)];
    }
  }

  // _bigbird_block_rand_mask: a layout of max_len tokens whose random blocks are among the first
  // 1024, cut to the sequence; every row is drawn.
  void draw_paper(std::size_t head) {
    const std::int64_t rows = o_.max_len / o_.block_size, r = o_.num_random_blocks;
    std::int64_t last = rows - 1;
    if (1024 > 2 * o_.block_size) last = 1024 / o_.block_size - 1;
    const auto middle = [&](std::int64_t begin, std::int64_t end) {  // of 1 .. rows - 2, as slices
      return range(1 + std::min(begin, rows - 2), 1 + std::min(end, rows - 2));
    };
    for (std::int64_t i = 1; i < rows - 1; ++i) {
      Blocks legal;
      if (i == 1 || i == 2) {
        legal = middle(i + 1, last);
      } else if (i == rows - 3 || i == rows - 2) {
        legal = middle(0, last);
      } else if (i - 2 > last) {
        legal = middle(0, last);
      } else {
        legal = middle(0, i - 2);
        if (i + 1 != last) {
          const Blocks right = middle(i + 1, last);
          legal.insert(legal.end(), right.begin(), right.end());
        }
      }
      put(head, i, 0, numpy_.permutation(std::move(legal)), r);
    }
  }

  // A range of key blocks [begin, end) of which `wanted` are drawn into the columns from `column`.
  struct Part {
    std::int64_t begin, end, wanted, column;
  };

  // _bigbird_block_rand_mask_with_head: the rows of a part draw from it, later rows from all parts.
  void draw_plans() {
    const std::int64_t r = o_.num_random_blocks;
    std::vector<Part> parts;
    if (2 * r + 5 < n_) {
      parts = {{0, 2 * r + 5, r, 0}, {2 * r + 5, n_, 0, r}};
    } else if (r + 5 < n_) {
      parts = {{0, r + 5, r / 2, 0}, {r + 5, n_, r - r / 2, r / 2}};
    } else {
      parts = {{0, n_, r, 0}};
    }
    for (std::size_t p = 0; p < parts.size(); ++p) {
      if (p > 0 && parts[p].wanted > 0) draw_rows(1, parts[p].begin, parts[p]);
      for (std::size_t before = 0; before < p; ++before) {
        if (parts[before].wanted > 0) draw_rows(parts[p].begin, parts[p].end, parts[before]);
      }
      if (parts[p].wanted > 0)
        draw_rows(std::max<std::int64_t>(1, parts[p].begin), parts[p].end, parts[p]);
    }
  }
  void draw_rows(std::int64_t begin, std::int64_t end, const Part& part) {
    for (std::int64_t row = begin; row < end; ++row) {
      for (std::size_t head = 0; head < heads_.size(); ++head) {
        put(head, row, part.column, draw_row(row, part), part.wanted);
      }
    }
  }
  // _get_single_block_row_attention
  Blocks draw_row(std::int64_t row, const Part& part) {
    Blocks legal;
    for (const std::int64_t b : numpy_.permutation(range(part.begin, part.end))) {
      const bool illegal = std::abs(b - row) <= 1 || b == 0 || b == part.end - 1 ||
                           (row == 1 && b == part.end - 2) || (row == part.end - 2 && b == 1);
      if (!illegal && static_cast<std::int64_t>(legal.size()) < part.wanted) legal.push_back(b);
    }
    return legal;
  }

  mask::HfBigBirdOptions o_;
  std::int64_t n_;
  LegacyNumpy numpy_;
  std::vector<Blocks> heads_;
};

}  // namespace

std::vector<std::vector<std::int64_t>> hf_random_blocks(const mask::HfBigBirdOptions& options) {
  if (options.seq_len <= (5 + 2 * options.num_random_blocks) * options.block_size ||
      options.num_random_blocks == 0) {
    return std::vector<Blocks>(static_cast<std::size_t>(options.n_heads));
  }
  return Drawing(options).draw();
}

}  // namespace raptly::mask_detail
