#include "mask/tile_plan.h"

#include <algorithm>
#include <array>
#include <string>
#include <unordered_map>

#include "mask/rule.h"

namespace raptly {
namespace {

using mask_detail::bit_range;
using mask_detail::MaskTile;
using mask_detail::Rule;
using mask_detail::TileAnswer;

std::uint64_t hash_words(std::span<const std::uint64_t> words) {
  std::uint64_t hash = words.size();
  for (const std::uint64_t word : words) {
    hash = (hash ^ word) * 0x9E3779B97F4A7C15u;
    hash ^= hash >> 29;
  }
  return hash;
}

// Set bits of all words. Sixteen words make one word of counts a byte before they are added up:
// without -mpopcnt a popcount a word took a third of the time to plan causal & window.
std::int64_t count_bits(std::span<const std::uint64_t> words) {
  constexpr std::uint64_t kPairs = 0x5555555555555555u, kNibbles = 0x3333333333333333u,
                          kBytes = 0x0F0F0F0F0F0F0F0Fu, kHalves = 0x00FF00FF00FF00FFu;
  std::int64_t total = 0;
  for (std::size_t begin = 0; begin < words.size(); begin += 16) {
    std::uint64_t bytes = 0;  // at most 16 * 8
    for (const std::uint64_t word :
         words.subspan(begin, std::min<std::size_t>(16, words.size() - begin))) {
      const std::uint64_t twos = word - (word >> 1 & kPairs);
      const std::uint64_t fours = (twos & kNibbles) + (twos >> 2 & kNibbles);
      bytes += (fours + (fours >> 4)) & kBytes;
    }
    const std::uint64_t halves = (bytes & kHalves) + (bytes >> 8 & kHalves);
    total += static_cast<std::int64_t>((halves * 0x0001000100010001u) >> 48);
  }
  return total;
}

}  // namespace

// Walks the key blocks of one query tile after another. A range of blocks that the rule calls
// partial is halved until it is one block, so a tile costs O(kept * log(blocks)), not O(blocks).
class TilePlan::Builder {
 public:
  Builder(TilePlan& plan, const Rule* rule, const MaskScope& placed)
      : plan_(plan), rule_(rule), placed_(placed) {}

  void build(int tile_queries) {
    const std::int64_t q_len = plan_.scope_.q_len;
    const std::int64_t blocks = (plan_.scope_.kv_len + kBlockKeys - 1) / kBlockKeys;
    plan_.tiles_.reserve(static_cast<std::size_t>((q_len + tile_queries - 1) / tile_queries));
    for (std::int64_t q = 0; q < q_len; q += tile_queries) {
      const int n = static_cast<int>(std::min<std::int64_t>(tile_queries, q_len - q));
      tile_ = {q, n, 0, 0};
      first_span_ = plan_.spans_.size();
      if (blocks > 0) walk_copies(blocks);
      plan_.tiles_.push_back({q, n, {}});
      ends_.push_back(plan_.spans_.size());
    }
    const std::int64_t n_tiles = static_cast<std::int64_t>(plan_.tiles_.size());
    plan_.n_empty_ = n_tiles * blocks - plan_.n_full_ - plan_.n_partial_ + plan_.n_again_;
    link();
  }

 private:
  void walk_copies(std::int64_t blocks) {
    const int copies = rule_ ? rule_->max_copies() : 1;
    for (placed_.copy = 0; placed_.copy < copies; ++placed_.copy) {
      const std::size_t before = plan_.spans_.size();
      walk(0, blocks);
      if (plan_.spans_.size() == before) break;  // seen no more often than this
    }
    if (placed_.copy > 0 && copies > 1) sort_copies();
  }

  // One copy of the tile lies behind the other: cut into blocks, sorted by block, joined again. Of
  // a block the span that ends first comes first, so that ends never fall.
  void sort_copies() {
    struct Piece {
      TileSpan span;
      std::size_t word;
      std::size_t listed;  // place in the list
      std::int64_t end() const { return span.first_key + span.n_keys; }
      std::int64_t block() const { return span.first_key / kBlockKeys; }
    };
    auto& spans = plan_.spans_;
    std::vector<Piece> pieces;
    for (std::size_t s = first_span_; s < spans.size(); ++s) {
      const std::int64_t end = spans[s].first_key + spans[s].n_keys;
      for (std::int64_t key = spans[s].first_key; key < end;) {
        const std::int64_t next = std::min(end, (key / kBlockKeys + 1) * kBlockKeys);
        pieces.push_back({{key, next - key, nullptr}, word_of_[s], pieces.size()});
        key = next;
      }
    }
    // Not std::stable_sort: clang 19 refuses GCC 12's as deprecated.
    std::sort(pieces.begin(), pieces.end(), [](const Piece& a, const Piece& b) {
      if (a.block() != b.block()) return a.block() < b.block();
      return a.end() != b.end() ? a.end() < b.end() : a.listed < b.listed;
    });
    spans.resize(first_span_);
    word_of_.resize(first_span_);
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      const Piece& piece = pieces[i];
      plan_.n_again_ += i > 0 && pieces[i - 1].block() == piece.block();
      const bool joins = spans.size() > first_span_ && piece.word == kFull &&
                         word_of_.back() == kFull &&
                         spans.back().first_key + spans.back().n_keys == piece.span.first_key;
      if (joins) {
        spans.back().n_keys += piece.span.n_keys;
      } else {
        spans.push_back(piece.span);
        word_of_.push_back(piece.word);
      }
    }
  }

  void walk(std::int64_t begin, std::int64_t end) {
    tile_.first_key = begin * kBlockKeys;
    tile_.n_keys = std::min(end * kBlockKeys, plan_.scope_.kv_len) - tile_.first_key;
    const TileAnswer answer = rule_ ? rule_->answer(placed_, tile_) : TileAnswer::kFull;
    if (answer == TileAnswer::kFull) {
      add_full(end - begin);
    } else if (answer == TileAnswer::kPartial) {
      if (end - begin == 1) {
        add_partial();
      } else {
        const std::int64_t middle = begin + (end - begin) / 2;
        walk(begin, middle);
        walk(middle, end);
      }
    }
  }

  void add_full(std::int64_t blocks) {
    plan_.n_full_ += blocks;
    plan_.visible_pairs_ += tile_.n_queries * tile_.n_keys;
    auto& spans = plan_.spans_;
    if (spans.size() > first_span_ && word_of_.back() == kFull &&
        spans.back().first_key + spans.back().n_keys == tile_.first_key) {
      spans.back().n_keys += tile_.n_keys;
      return;
    }
    spans.push_back({tile_.first_key, tile_.n_keys, nullptr});
    word_of_.push_back(kFull);
  }

  void add_partial() {
    std::array<std::uint64_t, kBlockKeys> words;  // NOLINT: written before it is read
    const auto n = static_cast<std::size_t>(tile_.n_keys);
    rule_->bits(placed_, tile_, std::span(words).first(n));
    const std::uint64_t all = bit_range(0, tile_.n_queries, tile_.n_queries);
    std::uint64_t both = all;
    for (std::size_t k = 0; k < n; ++k) both &= words[k];
    const std::int64_t pairs = count_bits(std::span(words).first(n));
    if (pairs == 0) return;
    if (both == all) return add_full(1);
    ++plan_.n_partial_;
    plan_.visible_pairs_ += pairs;
    std::size_t begin = 0, end = n;
    while (words[begin] == 0) ++begin;
    while (words[end - 1] == 0) --end;
    begin -= begin % 8;
    std::fill(words.begin() + static_cast<std::ptrdiff_t>(end), words.end(), 0);
    plan_.spans_.push_back({tile_.first_key + static_cast<std::int64_t>(begin),
                            static_cast<std::int64_t>(end - begin), nullptr});
    word_of_.push_back(store(std::span(words).subspan(begin, (end - begin + 7) / 8 * 8)));
  }

  // Where these words are in bits_; tiles with the same words share them (a causal mask has as many
  // different diagonal tiles as tile offsets modulo the block).
  std::size_t store(std::span<const std::uint64_t> words) {
    auto& bits = plan_.bits_;
    const auto [known, is_new] = seen_.try_emplace(hash_words(words), bits.size());
    if (!is_new && known->second + words.size() <= bits.size() &&
        std::equal(words.begin(), words.end(),
                   bits.begin() + static_cast<std::ptrdiff_t>(known->second))) {
      return known->second;
    }
    const std::size_t offset = bits.size();
    bits.insert(bits.end(), words.begin(), words.end());
    return offset;
  }

  // Offsets become pointers once the vectors have stopped growing.
  void link() {
    for (std::size_t s = 0; s < plan_.spans_.size(); ++s) {
      if (word_of_[s] != kFull) plan_.spans_[s].bits = plan_.bits_.data() + word_of_[s];
    }
    std::size_t begin = 0;
    for (std::size_t t = 0; t < plan_.tiles_.size(); ++t) {
      plan_.tiles_[t].spans = std::span(plan_.spans_).subspan(begin, ends_[t] - begin);
      begin = ends_[t];
    }
  }

  static constexpr std::size_t kFull = ~std::size_t{0};

  TilePlan& plan_;
  const Rule* rule_;
  MaskScope placed_;
  MaskTile tile_;
  std::size_t first_span_ = 0;        // of the tile at hand
  std::vector<std::size_t> word_of_;  // for each span: offset in bits_, or kFull
  std::vector<std::size_t> ends_;     // for each tile: one past its last span
  std::unordered_map<std::uint64_t, std::size_t> seen_;
};

TilePlan::TilePlan(const Mask& mask, const MaskScope& scope, int tile_queries) : scope_(scope) {
  if (tile_queries < 1 || tile_queries > kMaxTileQueries) {
    mask_detail::fail("mask", "tile_queries is " + std::to_string(tile_queries) +
                                  ". It must be 1 .. " + std::to_string(kMaxTileQueries) + ".");
  }
  const MaskScope placed = mask_detail::place_mask(mask, scope);
  mask_detail::within_memory(scope,
                             [&] { Builder(*this, mask.rule(), placed).build(tile_queries); });
}

void TilePlan::skip_keys_before(std::int64_t key) {
  if (key <= 0) return;
  for (QueryTile& tile : tiles_) {
    const auto front = static_cast<std::size_t>(tile.spans.data() - spans_.data());
    TileSpan& span = spans_[front];
    visible_pairs_ -= tile.n_queries * key;
    n_full_ -= key / kBlockKeys;
    n_empty_ += key / kBlockKeys;
    if (span.n_keys == key) {
      tile.spans = tile.spans.subspan(1);
    } else {
      span.first_key += key;
      span.n_keys -= key;
    }
  }
}

std::size_t TilePlan::memory_bytes() const {
  return tiles_.capacity() * sizeof(QueryTile) + spans_.capacity() * sizeof(TileSpan) +
         bits_.capacity() * sizeof(std::uint64_t);
}

}  // namespace raptly
