// longformer(attention_window, global_tokens, dilation): attention_window / 2 keys on each side of
// a query and itself (transformers' count: two-sided; allenai's is one-sided), and global tokens
// that see and are seen by all. Written with other rules: it prints as them.
#include <utility>

#include "mask/per_batch.h"
#include "raptly/mask.h"

namespace raptly {
namespace mask_detail {

Mask parse_longformer(RuleArguments& args) {
  const std::int64_t window = args.integer(0, "attention_window");
  const mask::PerBatch globals =
      args.has(1, "global_tokens") ? args.per_batch(1, "global_tokens") : mask::PerBatch();
  if (!args.has(2, "dilation")) return mask::longformer(window, globals);
  return mask::longformer(window, globals, args.integer_or_integers(2, "dilation"));
}

}  // namespace mask_detail

Mask mask::longformer(std::int64_t attention_window, const PerBatch& global_tokens,
                      const std::vector<std::int64_t>& dilation) {
  if (attention_window < 0 || attention_window % 2 != 0) {
    mask_detail::fail("longformer",
                      "attention_window is " + std::to_string(attention_window) +
                          ". It must be even and 0 or more: half of it lies on each side.");
  }
  if (dilation.empty()) {
    mask_detail::fail("longformer",
                      "dilation is an empty list. Give one step, or one for each head.");
  }
  mask_detail::check_values("longformer", "dilation", dilation, 1, mask_detail::kMaxPosition);
  const std::int64_t side = attention_window / 2;
  const bool plain = dilation.size() == 1 && dilation.front() == 1;
  const Mask local = plain ? window(side, side) : dilated(side, dilation);
  for (const std::vector<std::int64_t>& row : global_tokens.rows()) {
    if (!row.empty()) return local | mask::global_tokens(global_tokens);
  }
  return local;
}

}  // namespace raptly
