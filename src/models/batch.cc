#include "models/batch.h"

#include <algorithm>
#include <string>

#include "raptly/error.h"

namespace raptly {
namespace {

[[noreturn]] void reject(const std::string& what) {
  throw Error(ErrorCode::kInvalidArgument, "[forward] " + what);
}

void check_cache(const ModelConfig& config, const CacheShape& shape) {
  const std::int64_t v_dim = shape.v_dim == 0 ? shape.head_dim : shape.v_dim;
  if (shape.n_layers == config.n_layers && shape.n_kv_heads == config.n_kv_heads &&
      shape.head_dim == config.head_dim && v_dim == config.head_dim) {
    return;
  }
  const auto text = [](std::int64_t layers, std::int64_t heads, std::int64_t dim) {
    return std::to_string(layers) + " layers of " + std::to_string(heads) + " heads of " +
           std::to_string(dim);
  };
  reject("the cache has " + text(shape.n_layers, shape.n_kv_heads, shape.head_dim) +
         ", the model " + text(config.n_layers, config.n_kv_heads, config.head_dim) +
         ". Make the cache from cache_shape().");
}

void check_rows(const Batch& batch, const ModelConfig& config, std::size_t n_logits) {
  const auto total = static_cast<std::int64_t>(batch.tokens.size());
  for (std::int64_t i = 0; i < total; ++i) {
    const std::int32_t token = batch.tokens[static_cast<std::size_t>(i)];
    if (token < 0 || token >= config.vocab_size) {
      reject("token " + std::to_string(i) + " is " + std::to_string(token) +
             ". The vocabulary has ids 0 .. " + std::to_string(config.vocab_size - 1) + ".");
    }
  }
  if (!batch.positions.empty() && batch.positions.size() != batch.tokens.size()) {
    reject("there are " + std::to_string(batch.positions.size()) + " positions for " +
           std::to_string(total) + " tokens. Give one each, or none.");
  }
  for (const std::int64_t position : batch.positions) {
    if (position < 0) reject("a position is " + std::to_string(position) + ". They count from 0.");
  }
  std::int64_t before = -1;
  for (const std::int64_t row : batch.logit_rows) {
    if (row <= before || row >= total) {
      reject("logit_rows has " + std::to_string(row) + " after " + std::to_string(before) +
             ". They must ascend and be below the number of tokens, " + std::to_string(total) +
             ".");
    }
    before = row;
  }
  const std::size_t wanted = batch.logit_rows.size() * static_cast<std::size_t>(config.vocab_size);
  if (n_logits != wanted) {
    reject("logits has " + std::to_string(n_logits) + " elements. [logit_rows, vocab_size] has " +
           std::to_string(wanted) + ".");
  }
}

}  // namespace

std::vector<BatchSequence> check_batch(const Batch& batch, const ModelConfig& config,
                                       const KvCache& cache, std::size_t n_logits) {
  check_cache(config, cache.shape());
  if (batch.sequences.size() != batch.lengths.size()) {
    reject("there are " + std::to_string(batch.sequences.size()) + " sequences and " +
           std::to_string(batch.lengths.size()) + " lengths. Give one length a sequence.");
  }
  check_rows(batch, config, n_logits);
  std::vector<SequenceId> ids(batch.sequences.begin(), batch.sequences.end());
  std::sort(ids.begin(), ids.end());
  const auto twice = std::adjacent_find(ids.begin(), ids.end());
  if (twice != ids.end()) {
    reject("sequence " + std::to_string(*twice) +
           " is in the batch twice. Give its tokens at once.");
  }
  std::vector<BatchSequence> out;
  std::int64_t row = 0;
  const auto total = static_cast<std::int64_t>(batch.tokens.size());
  for (std::size_t i = 0; i < batch.sequences.size(); ++i) {
    const std::int64_t n = batch.lengths[i], stored = cache.length(batch.sequences[i]);
    if (n < 0 || n > total - row) {
      reject("length " + std::to_string(i) + " is " + std::to_string(n) +
             ". The lengths must add up to the " + std::to_string(total) + " tokens.");
    }
    if (n > cache.capacity(batch.sequences[i]) - stored) {
      throw Error(ErrorCode::kContextFull,
                  "[forward] sequence " + std::to_string(batch.sequences[i]) + " holds " +
                      std::to_string(stored) + " tokens and gets " + std::to_string(n) +
                      ". Its cache has room for " +
                      std::to_string(cache.capacity(batch.sequences[i])) + ".");
    }
    if (n > cache.max_chunk(batch.sequences[i])) {
      reject("sequence " + std::to_string(batch.sequences[i]) + " gets " + std::to_string(n) +
             " tokens at once. Its cache takes " +
             std::to_string(cache.max_chunk(batch.sequences[i])) + ": give them in chunks.");
    }
    if (n > 0) out.push_back({batch.sequences[i], row, n, stored});
    row += n;
  }
  if (row != total) {
    reject("the lengths add up to " + std::to_string(row) + ". There are " + std::to_string(total) +
           " tokens.");
  }
  return out;
}

}  // namespace raptly
