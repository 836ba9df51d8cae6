// Uses both components of an installed raptly; exits 1 when a result is wrong.
#include <cmath>
#include <cstdio>
#include <vector>

#include "raptly/attention.h"
#include "raptly/error.h"
#include "raptly/generate.h"

int main() {
  std::vector<float> q(4 * 64, 0.5f), v(4 * 64, 2.0f), out(4 * 64);
  raptly::AttentionOptions options;
  options.mask = raptly::mask::causal();
  raptly::attention({q.data(), {1, 4, 1, 64}}, {q.data(), {1, 4, 1, 64}}, {v.data(), {1, 4, 1, 64}},
                    {out.data(), {1, 4, 1, 64}}, options);
  if (std::fabs(out[0] - 2.0f) > 1e-6f) return 1;
  try {
    raptly::load_model("/nonexistent.gguf");
    return 1;
  } catch (const raptly::Error& error) {
    std::printf("an error as documented: %s\n", error.what());
  }
  return 0;
}
