// What the tests of caches share: values that tell where they belong, appending and comparing them.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "raptly/cache.h"
#include "raptly/error.h"
#include "raptly/kv_view.h"

namespace raptly::cache_testing {

constexpr CacheShape kShape{.n_layers = 2, .n_kv_heads = 3, .head_dim = 5, .v_dim = 4};

// A token of a history: two tokens of the same value are the same to the cache.
using Token = std::int32_t;

// Exact in f32 for tokens below 2^17.
inline float element(std::int64_t layer, Token token, std::int64_t head, std::int64_t d,
                     bool value) {
  return static_cast<float>(token * 64 + layer * 24 + head * 8 + d) * (value ? -1.0f : 1.0f);
}

// Stores tokens [first, end of history) of a sequence that has room for them.
inline void write_tokens(KvCache& cache, SequenceId s, const std::vector<Token>& history,
                         std::int64_t first) {
  const CacheShape& shape = cache.shape();
  const auto n = static_cast<std::int64_t>(history.size()) - first;
  for (std::int64_t layer = 0; layer < shape.n_layers; ++layer) {
    std::vector<float> k, v;
    for (std::int64_t t = first; t < first + n; ++t) {
      const Token token = history[static_cast<std::size_t>(t)];
      for (std::int64_t h = 0; h < shape.n_kv_heads; ++h) {
        for (std::int64_t d = 0; d < shape.head_dim; ++d)
          k.push_back(element(layer, token, h, d, false));
        for (std::int64_t d = 0; d < shape.v_dim; ++d)
          v.push_back(element(layer, token, h, d, true));
      }
    }
    cache.write(s, layer, first, n, k.data(), shape.n_kv_heads * shape.head_dim, v.data(),
                shape.n_kv_heads * shape.v_dim);
  }
}

inline void append(KvCache& cache, SequenceId s, std::vector<Token>& history,
                   const std::vector<Token>& tokens, bool tell_tokens = false) {
  const auto n = static_cast<std::int64_t>(tokens.size());
  cache.extend({&s, 1}, {&n, 1}, tell_tokens ? std::span(tokens) : std::span<const Token>());
  history.insert(history.end(), tokens.begin(), tokens.end());
  write_tokens(cache, s, history, static_cast<std::int64_t>(history.size()) - n);
}

inline std::vector<Token> count_tokens(Token first, std::int64_t n) {
  std::vector<Token> tokens;
  for (std::int64_t i = 0; i < n; ++i) tokens.push_back(first + static_cast<Token>(i));
  return tokens;
}

// Whether a row of a view holds the keys and values of `token`.
inline bool holds(const KvView& view, const KvRun& run, std::int64_t i, const CacheShape& shape,
                  std::int64_t layer, Token token) {
  for (std::int64_t h = 0; h < shape.n_kv_heads; ++h) {
    const float* k =
        static_cast<const float*>(run.k) + i * view.k_token_stride + h * view.k_head_stride;
    const float* v =
        static_cast<const float*>(run.v) + i * view.v_token_stride + h * view.v_head_stride;
    for (std::int64_t d = 0; d < shape.head_dim; ++d)
      if (k[d] != element(layer, token, h, d, false)) return false;
    for (std::int64_t d = 0; d < shape.v_dim; ++d)
      if (v[d] != element(layer, token, h, d, true)) return false;
  }
  return true;
}

// That the sequence holds `history`, as far as the cache keeps it. f32 caches.
inline void check_contents(const KvCache& cache, SequenceId s, const std::vector<Token>& history) {
  const auto n = static_cast<std::int64_t>(history.size());
  ASSERT_EQ(cache.length(s), n);
  const CacheWindow window = cache.window();
  for (std::int64_t layer = 0; layer < cache.shape().n_layers; ++layer) {
    const KvView view = cache.view(s, layer);
    ASSERT_EQ(view.length, n);
    std::int64_t next = 0;  // the ordinal that must come
    for (const KvRun& run : view.runs) {
      ASSERT_GT(run.n, 0);
      if (next >= window.n_sinks) next = std::max(next, cache.first_kept(s));
      ASSERT_EQ(run.first_ordinal, next);
      for (std::int64_t i = 0; i < run.n; ++i, ++next) {
        const Token token = history[static_cast<std::size_t>(next)];
        if (!holds(view, run, i, cache.shape(), layer, token)) {
          FAIL() << "layer " << layer << ", ordinal " << next << " is not token " << token;
        }
      }
    }
    if (n > window.n_sinks) next = std::max(next, cache.first_kept(s));
    ASSERT_EQ(next, n);
  }
}

inline void expect_error(ErrorCode code, const std::string& part,
                         const std::function<void()>& call) {
  try {
    call();
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code);
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

}  // namespace raptly::cache_testing
