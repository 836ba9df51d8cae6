// Activations to int16 blocks (quantize_activations of matmul.h).
#if defined(RAPTLY_QUANTIZE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RAPTLY_QUANTIZE_INL_H
#undef RAPTLY_QUANTIZE_INL_H
#else
#define RAPTLY_QUANTIZE_INL_H
#endif

#include "kernels/matmul/int16_ops-inl.h"
#include "kernels/matmul/matmul_kernels.h"
#if RAPTLY_TARGET_ENABLED
RAPTLY_BEFORE_TARGET();
namespace raptly {
namespace RAPTLY_TARGET {

// Largest |x| of a block as the bits of its f32: integer order is the order of magnitudes, with
// infinity and then NaN above every number, so no comparison can drop a NaN.
template <int N>
RAPTLY_INLINE std::int32_t max_magnitude_bits(const Vf (&v)[N]) {
  Vi most = bits_of(abs(v[0]));
  each<N - 1>([&](auto j) RAPTLY_LAMBDA { most = hn::Max(most, bits_of(abs(v[j + 1]))); });
  return hn::GetLane(hn::MaxOfLanes(kI, most));
}

// q = x * inverse rounded to nearest even; returns the sum of q.
template <int N>
RAPTLY_INLINE std::int32_t round_block(const Vf (&v)[N], float inverse, std::int16_t* q) {
  Vi sum = hn::Zero(kI);
  each<N>([&](auto j) RAPTLY_LAMBDA {
    const Vi rounded = hn::NearestInt(mul(v[j], set(inverse)));
    sum = hn::Add(sum, rounded);
    hn::StoreU(hn::DemoteTo(hn::Rebind<std::int16_t, TagI>(), rounded),
               hn::Rebind<std::int16_t, TagI>(), q + j * kLanes);
  });
  return hn::GetLane(hn::SumOfLanes(kI, sum));  // integers: order does not matter
}

void quantize_rows(const float* x, std::int64_t rows, std::int64_t x_stride, std::int64_t n_in,
                   ActivationBlock* out) {
  for (std::int64_t r = 0; r < rows; ++r, x += x_stride) {
    for (std::int64_t i = 0; i < n_in; i += 32, ++out) {
      Vf v[32 / kLanes];
      each<32 / kLanes>([&](auto j) RAPTLY_LAMBDA { v[j] = load(x + i + j * kLanes); });
      const std::int32_t bits = max_magnitude_bits(v);
      float largest;
      std::memcpy(&largest, &bits, sizeof(largest));
      if (bits < kTinyBits || bits >= kInfinityBits) {  // nothing to scale by
        std::memset(out->q, 0, sizeof(out->q));
        out->scale = out->scaled_sum = bits < kTinyBits ? 0.0f : __builtin_nanf("");
        continue;
      }
      out->scale = largest / kMaxActivation;
      out->scaled_sum =
          out->scale * static_cast<float>(round_block(v, kMaxActivation / largest, out->q));
    }
  }
}

}  // namespace RAPTLY_TARGET
}  // namespace raptly
RAPTLY_AFTER_TARGET();
#endif
#endif
