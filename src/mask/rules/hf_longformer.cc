// hf_longformer(attention_window, attention_mask): what transformers' LongformerSelfAttention sees.
// attention_mask is its own: 0 padding, 1 local, 2 global. Written with other rules: it prints as
// them. Its one quirk is that rows of padded tokens give 0. real_tokens(attention_mask) is that
// alone. Source: transformers models/longformer/modeling_longformer.py.
#include <utility>
#include <vector>

#include "mask/per_batch.h"
#include "raptly/mask.h"

namespace raptly {
namespace mask_detail {
namespace {

using Row = std::vector<std::int64_t>;

// f(list) for each batch entry.
template <class F>
mask::PerBatch map_rows(const mask::PerBatch& lists, const F& f) {
  std::vector<Row> rows;
  for (const Row& row : lists.rows()) rows.push_back(f(row));
  return lists.is_shared() ? mask::PerBatch(std::move(rows[0])) : mask::PerBatch(std::move(rows));
}

// 1 for a real token, `padded` for another.
mask::PerBatch ids(const mask::PerBatch& attention_mask, std::int64_t padded) {
  return map_rows(attention_mask, [&](Row row) {
    for (std::int64_t& x : row) x = x == 0 ? padded : 1;
    return row;
  });
}

}  // namespace

Mask parse_real_tokens(RuleArguments& args) {
  return mask::real_tokens(args.per_batch(0, "attention_mask"));
}

Mask parse_hf_longformer(RuleArguments& args) {
  const std::int64_t window = args.integer(0, "attention_window");
  return mask::hf_longformer(window, args.per_batch(1, "attention_mask"));
}

}  // namespace mask_detail

Mask mask::real_tokens(const PerBatch& attention_mask) {
  mask_detail::check_values("real_tokens", "attention_mask", attention_mask, 0, 2);
  return documents(mask_detail::ids(attention_mask, 0), mask_detail::ids(attention_mask, 2));
}

Mask mask::hf_longformer(std::int64_t attention_window, const PerBatch& attention_mask) {
  mask_detail::check_values("hf_longformer", "attention_mask", attention_mask, 0, 2);
  const PerBatch globals = mask_detail::map_rows(attention_mask, [](const mask_detail::Row& row) {
    mask_detail::Row positions;
    for (std::size_t i = 0; i < row.size(); ++i) {
      if (row[i] == 2) positions.push_back(static_cast<std::int64_t>(i));
    }
    return positions;
  });
  return longformer(attention_window, globals) & real_tokens(attention_mask);
}

}  // namespace raptly
