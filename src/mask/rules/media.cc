// media(text_media_index, tokens_per_media, mode): text looks at images (Flamingo). Query i has
// seen text_media_index[i] images, 0 = none yet; image m = 1, 2, ... has the keys (m - 1) *
// tokens_per_media ... m * tokens_per_media - 1.
//   immediate     only the last image seen
//   all_previous  every image seen
// Text before the first image sees nothing, in both modes: out 0, never the mean of all images.
#include <algorithm>
#include <memory>

#include "mask/per_batch.h"
#include "raptly/mask.h"

namespace raptly {
namespace mask_detail {
namespace {

class Media final : public Rule {
 public:
  Media(const mask::PerBatch& index, std::int64_t tokens, mask::MediaMode mode)
      : index_(index), tokens_(tokens), immediate_(mode == mask::MediaMode::kImmediate) {}

  bool sees(const MaskScope& scope, std::int64_t query, std::int64_t key) const override {
    const std::int64_t seen = index_.of(scope)[query], image = image_of(key);
    return immediate_ ? image == seen : image <= seen;
  }
  TileAnswer answer(const MaskScope& scope, const MaskTile& tile) const override {
    const Range seen = index_.of(scope).range(tile.first_query, tile.n_queries);
    const Range images{image_of(tile.first_key), image_of(tile.last_key())};
    if (images.least > seen.most || (immediate_ && images.most < seen.least)) {
      return TileAnswer::kEmpty;
    }
    const Range both = join(images, seen);
    const bool full = immediate_ ? both.least == both.most : images.most <= seen.least;
    return full ? TileAnswer::kFull : TileAnswer::kPartial;
  }
  std::string to_string() const override {
    return "media(" + index_.to_string() + ", " + std::to_string(tokens_) +
           (immediate_ ? ")" : ", mode=\"all_previous\")");
  }
  void check(const MaskScope& scope) const override {
    check_entry("media", batch(), scope);
    const RangeTable& index = index_.of(scope);
    check_size("media", "text_media_index", index.size(), "q_len", scope.q_len);
    const std::int64_t images = scope.kv_len / tokens_;
    if (index.size() > 0 && index.range(0, index.size()).most > images) {
      fail("media", "text_media_index holds " + std::to_string(index.range(0, index.size()).most) +
                        ", but kv_len " + std::to_string(scope.kv_len) + " has the keys of " +
                        std::to_string(images) + " images of " + std::to_string(tokens_) +
                        " tokens. It counts the images seen so far.");
    }
  }
  std::int64_t batch() const override { return index_.batch(); }

 private:
  std::int64_t image_of(std::int64_t key) const { return key / tokens_ + 1; }

  BatchTables index_;
  std::int64_t tokens_;
  bool immediate_;
};

}  // namespace

Mask parse_media(RuleArguments& args) {
  const mask::PerBatch index = args.per_batch(0, "text_media_index");
  const std::int64_t tokens = args.integer(1, "tokens_per_media");
  const bool all = args.choice(2, "mode", {"immediate", "all_previous"}) == 1;
  return mask::media(index, tokens,
                     all ? mask::MediaMode::kAllPrevious : mask::MediaMode::kImmediate);
}

}  // namespace mask_detail

Mask mask::media(const PerBatch& text_media_index, std::int64_t tokens_per_media, MediaMode mode) {
  if (tokens_per_media < 1) {
    mask_detail::fail("media", "tokens_per_media is " + std::to_string(tokens_per_media) +
                                   ". It must be 1 or more.");
  }
  mask_detail::check_values("media", "text_media_index", text_media_index, 0,
                            mask_detail::kMaxPosition);
  return Mask(std::make_shared<mask_detail::Media>(text_media_index, tokens_per_media, mode));
}

}  // namespace raptly
