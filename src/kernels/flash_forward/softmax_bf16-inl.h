// What prefill and decode of the level avx512_bf16 share of the softmax, in f32 vectors: the scale,
// and how m follows a block's largest score. The level exists with AVX-512 only.
#if defined(RAPTLY_SOFTMAX_BF16_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RAPTLY_SOFTMAX_BF16_INL_H
#undef RAPTLY_SOFTMAX_BF16_INL_H
#else
#define RAPTLY_SOFTMAX_BF16_INL_H
#endif

#include "kernels/flash_forward/bf16_leaf.h"
#include "kernels/flash_forward/flash_forward.h"
#include "kernels/flash_forward/rows-inl.h"
#include "kernels/flash_forward/workspace.h"
#include "kernels/softmax_state/softcap-inl.h"
#if RAPTLY_TARGET_ENABLED && HWY_TARGET == HWY_AVX3
RAPTLY_BEFORE_TARGET();
namespace raptly {
namespace RAPTLY_TARGET {

// bf16 queries cannot take the scale, so the dot products do: s = factor * dot, in one rounding
// with the reduction of 2^s. A negative scale turns the signs of q, so that the largest dot is the
// largest score. With a softcap, a bias, or a factor so far from 1 that (m - 127) / factor could
// leave f32, scores are rounded to f32 in a pass of their own and factor is 1.
struct ScoreScale {
  float first = 1;  // of that pass
  float factor = 1;
  bool separate = false;
  std::uint32_t sign = 0;  // flips the signs of a pair of q
  Softcap softcap;

  explicit ScoreScale(const FlashForwardItem& item) : softcap(item.softcap) {
    const float scale = static_cast<float>(item.scale) * kLog2E;
    sign = scale < 0 ? 0x80008000u : 0;
    first = std::fabs(scale);
    separate = softcap.given() || item.bias != nullptr || !(first >= 0x1p-64f && first <= 0x1p64f);
    if (!separate) factor = first;
  }
  RAPTLY_INLINE Vf separately(Vf dot) const {
    const Vf s = mul(dot, set(first));
    return softcap.given() ? softcap(s) : s;
  }
};

// n scores, a multiple of 16. Not inlined: its constants would push others out of registers.
inline __attribute__((noinline)) void scale_separately(const ScoreScale& scale, float* scores,
                                                       std::int64_t n) {
  for (std::int64_t i = 0; i < n; i += kLanes) {
    store(scale.separately(load(scores + i)), scores + i);
  }
}

// m of some rows, a row a lane, over one block.
struct BlockMax {
  Vf m, scale;
  Vf factor;       // of l and o where m moved
  Mf rises, over;  // over: a score beyond the limit: clamp_scores(scale * s) counts, at scale 1

  RAPTLY_INLINE BlockMax(Vf before, Vf best, float by) : m(before), scale(set(by)) {
    Vf highest = mul(best, scale);
    const Vf known = select(eq(highest, set(kMinusInfinity)), zero(), highest);
    over = gt(abs(known), set(kScoreLimit));
    if (any(over)) {
      highest = select(over, clamp_scores(highest), highest);
      scale = select(over, set(1.0f), scale);
    }
    rises = gt(highest, add(m, set(kRescaleThreshold)));
    m = select(rises, nearest_even(highest), m);
    factor = pow2_integer(sub(before, m));
  }
  RAPTLY_INLINE Vf limited(Vf s, float by) const {
    return select(over, clamp_scores(mul(s, set(by))), s);
  }
  // (m - 127) / scale in one rounding: times scale it is within 0.25 of m - 127.
  RAPTLY_INLINE Vf low() const { return div(sub(m, set(127.0f)), scale); }
  RAPTLY_INLINE Vf magic() const { return sub(set(kExponentMagic), m); }
};

// A row of n bf16 values as pairs, an odd last one with 0.
inline void copy_pairs(const Bf16* row, std::int64_t stride, std::int64_t n, std::uint32_t* out) {
  if (n % 2 != 0) out[n / 2] = 0;
  auto* bytes = reinterpret_cast<std::byte*>(out);
  if (stride == 1) {
    std::memcpy(bytes, row, static_cast<std::size_t>(n) * sizeof(Bf16));
    return;
  }
  for (std::int64_t i = 0; i < n; ++i) {
    std::memcpy(bytes + i * static_cast<std::int64_t>(sizeof(Bf16)), row + i * stride,
                sizeof(Bf16));
  }
}

// The pairs of a query, signs turned for a negative scale; zeros up to a multiple of 16 words.
inline void copy_query(const FlashForwardItem& item, std::int64_t query, std::int64_t head,
                       std::uint32_t sign, std::uint32_t* out) {
  const std::int64_t width = round_up((item.head_dim + 1) / 2, kLanes);
  std::memset(out, 0, static_cast<std::size_t>(width) * sizeof(std::uint32_t));
  const Bf16* q =
      static_cast<const Bf16*>(item.q) + query * item.q_token_stride + head * item.q_head_stride;
  copy_pairs(q, item.q_dim_stride, item.head_dim, out);
  for (std::int64_t i = 0; i < width; ++i) out[i] ^= sign;
}

}  // namespace RAPTLY_TARGET
}  // namespace raptly
RAPTLY_AFTER_TARGET();
#endif
#endif
