// Attention on raw arrays: 8 query heads share 2 key heads, causal, a window of 256 keys.
#include <cstdio>
#include <vector>

#include "raptly/attention.h"

int main() {
  const int batch = 1, seq = 1024, heads = 8, kv_heads = 2, dim = 64;
  std::vector<float> q(batch * seq * heads * dim, 0.1f), out(q.size());
  std::vector<float> k(batch * seq * kv_heads * dim, 0.2f), v(k.size(), 0.3f);
  raptly::AttentionOptions options;
  options.mask = raptly::mask::causal() & raptly::mask::window(255, 0);
  raptly::attention({q.data(), {batch, seq, heads, dim}}, {k.data(), {batch, seq, kv_heads, dim}},
                    {v.data(), {batch, seq, kv_heads, dim}}, {out.data(), {batch, seq, heads, dim}},
                    options);
  std::printf("out[0] = %.3f\n", static_cast<double>(out[0]));
}
