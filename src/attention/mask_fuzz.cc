// Any mask text over small random problems: an Error, or the f32 kernels (prefill and decode, heads
// together or apart) within a few roundings of the f64 reference.
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "raptly/attention.h"
#include "raptly/error.h"

namespace {

using raptly::TensorView;

struct Sizes {
  std::int64_t batch, q_len, kv_len, n_heads, n_kv_heads, head_dim;
};

template <class T>
struct Result {
  std::vector<T> out;
  std::vector<float> lse;
};

// The problem of a seed, in T.
template <class T>
Result<T> run(const Sizes& s, unsigned seed, const raptly::AttentionOptions& options) {
  std::mt19937 random(seed);
  const auto tensor = [&](std::int64_t len, std::int64_t heads) {
    std::vector<T> values(static_cast<std::size_t>(s.batch * len * heads * s.head_dim));
    for (T& value : values) {
      value = static_cast<T>(static_cast<float>(random() % 4096) / 1024.0f - 2.0f);
    }
    return values;
  };
  const std::vector<T> q = tensor(s.q_len, s.n_heads), k = tensor(s.kv_len, s.n_kv_heads),
                       v = tensor(s.kv_len, s.n_kv_heads);
  Result<T> result;
  result.out.resize(q.size());
  result.lse.resize(static_cast<std::size_t>(s.batch * s.n_heads * s.q_len));
  raptly::attention({q.data(), {s.batch, s.q_len, s.n_heads, s.head_dim}},
                    {k.data(), {s.batch, s.kv_len, s.n_kv_heads, s.head_dim}},
                    {v.data(), {s.batch, s.kv_len, s.n_kv_heads, s.head_dim}},
                    {result.out.data(), {s.batch, s.q_len, s.n_heads, s.head_dim}}, options,
                    {result.lse.data(), {s.batch, s.n_heads, s.q_len}});
  return result;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 6) return 0;
  try {
    raptly::AttentionOptions options;
    options.mask = raptly::Mask::parse({reinterpret_cast<const char*>(data + 6), size - 6});
    const std::int64_t kv_heads = data[2] % 2 == 0 ? 1 : 2;
    const Sizes sizes{1 + data[2] / 2 % 3,          data[0] % 100, data[1],
                      kv_heads * (1 + data[3] % 3), kv_heads,      1 + data[4] % 9};
    const auto fast = run<float>(sizes, data[5], options);
    const auto exact = run<double>(sizes, data[5], options);
    for (std::size_t i = 0; i < fast.out.size(); ++i) {
      if (!(std::fabs(static_cast<double>(fast.out[i]) - exact.out[i]) < 1e-4)) __builtin_trap();
    }
    for (std::size_t i = 0; i < fast.lse.size(); ++i) {
      const float a = fast.lse[i], b = exact.lse[i];
      if (a != b && !(std::fabs(a - b) < 1e-4f)) __builtin_trap();
    }
  } catch (const raptly::Error&) {
  }
  return 0;
}
