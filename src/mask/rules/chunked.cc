// chunked(size): query and key are in the same chunk, position / size (rounded down). Llama 4 is
// causal & chunked(8192); flash-attn 3 calls the size attention_chunk.
#include <memory>

#include "mask/placement.h"
#include "mask/rule_arguments.h"
#include "raptly/mask.h"

namespace raptly {
namespace mask_detail {
namespace {

class Chunked final : public Rule {
 public:
  explicit Chunked(std::int64_t size) : size_(size) {}

  bool sees(const MaskScope& scope, std::int64_t query, std::int64_t key) const override {
    return chunk(query_position(scope, query)) == chunk(key_position(scope, key));
  }
  TileAnswer answer(const MaskScope& scope, const MaskTile& tile) const override {
    const Range queries = chunks(query_positions(scope, tile));
    const Range keys = chunks(key_positions(scope, tile));
    if (queries.most < keys.least || keys.most < queries.least) return TileAnswer::kEmpty;
    const Range both = join(queries, keys);
    return both.least == both.most ? TileAnswer::kFull : TileAnswer::kPartial;
  }
  void bits(const MaskScope& scope, const MaskTile& tile,
            std::span<std::uint64_t> words) const override {
    if (scope.placement) {
      return bits_by_position(scope, tile, words, [this](std::int64_t query, std::int64_t key) {
        return chunk(query) == chunk(key);
      });
    }
    const std::int64_t first = scope.first_position + tile.first_query;
    for (std::int64_t k = 0; k < tile.n_keys; ++k) {
      const std::int64_t begin = chunk(tile.first_key + k) * size_ - first;
      words[static_cast<std::size_t>(k)] = bit_range(begin, begin + size_, tile.n_queries);
    }
  }
  std::string to_string() const override { return "chunked(" + std::to_string(size_) + ")"; }

 private:
  // Positions may be negative: rows before the first key.
  std::int64_t chunk(std::int64_t position) const {
    return position / size_ - (position % size_ < 0 ? 1 : 0);
  }
  Range chunks(Range positions) const { return {chunk(positions.least), chunk(positions.most)}; }

  std::int64_t size_;
};

}  // namespace

Mask parse_chunked(RuleArguments& args) { return mask::chunked(args.integer(0, "size")); }

}  // namespace mask_detail

Mask mask::chunked(std::int64_t size) {
  if (size < 1 || size > mask_detail::kMaxPosition) {
    mask_detail::fail("chunked", "size is " + std::to_string(size) + ". It must be 1 .. 2^48.");
  }
  return Mask(std::make_shared<mask_detail::Chunked>(size));
}

}  // namespace raptly
