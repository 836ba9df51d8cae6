// The vocabulary of vec-inl.h as eight plain floats and std::fma: the scalar level. Slow, portable,
// and the same bits as the vector levels.
#pragma once

namespace raptly {
namespace scalar {

constexpr int kLanes = 8;
constexpr int kRegisters = 16;

struct Vf {
  float lane[kLanes];
};
struct Vi {
  std::int32_t lane[kLanes];
};
struct Mf {
  bool lane[kLanes];
};

template <class Out, class F>
RAPTLY_INLINE Out map_lanes(F&& f) {
  Out out;
  for (int i = 0; i < kLanes; ++i) out.lane[i] = f(i);
  return out;
}
RAPTLY_INLINE Vf set(float x) {
  return map_lanes<Vf>([&](int) { return x; });
}
RAPTLY_INLINE Vf zero() { return set(0.0f); }
template <class T>
RAPTLY_INLINE Vf load(const T* p) {
  if constexpr (std::is_same_v<T, float>) {
    return map_lanes<Vf>([&](int i) { return p[i]; });
  } else {
    return map_lanes<Vf>([&](int i) { return to_float(p[i]); });
  }
}
RAPTLY_INLINE void store(const Vf& v, float* p) {
  for (int i = 0; i < kLanes; ++i) p[i] = v.lane[i];
}
RAPTLY_INLINE Vf fma(const Vf& a, const Vf& b, const Vf& c) {
  return map_lanes<Vf>([&](int i) { return std::fma(a.lane[i], b.lane[i], c.lane[i]); });
}
RAPTLY_INLINE Vf add(const Vf& a, const Vf& b) {
  return map_lanes<Vf>([&](int i) { return a.lane[i] + b.lane[i]; });
}
RAPTLY_INLINE Vf sub(const Vf& a, const Vf& b) {
  return map_lanes<Vf>([&](int i) { return a.lane[i] - b.lane[i]; });
}
RAPTLY_INLINE Vf mul(const Vf& a, const Vf& b) {
  return map_lanes<Vf>([&](int i) { return a.lane[i] * b.lane[i]; });
}
RAPTLY_INLINE Vf div(const Vf& a, const Vf& b) {
  return map_lanes<Vf>([&](int i) { return a.lane[i] / b.lane[i]; });
}
RAPTLY_INLINE Vf abs(const Vf& a) {
  return map_lanes<Vf>([&](int i) { return std::fabs(a.lane[i]); });
}
RAPTLY_INLINE Vf max(const Vf& a, const Vf& b) {
  return map_lanes<Vf>([&](int i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; });
}
RAPTLY_INLINE Vf min(const Vf& a, const Vf& b) {
  return map_lanes<Vf>([&](int i) { return a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]; });
}
RAPTLY_INLINE Mf gt(const Vf& a, const Vf& b) {
  return map_lanes<Mf>([&](int i) { return a.lane[i] > b.lane[i]; });
}
RAPTLY_INLINE Mf eq(const Vf& a, const Vf& b) {
  return map_lanes<Mf>([&](int i) { return a.lane[i] == b.lane[i]; });
}
RAPTLY_INLINE Vf select(const Mf& m, const Vf& yes, const Vf& no) {
  return map_lanes<Vf>([&](int i) { return m.lane[i] ? yes.lane[i] : no.lane[i]; });
}
RAPTLY_INLINE bool any(const Mf& m) {
  for (int i = 0; i < kLanes; ++i) {
    if (m.lane[i]) return true;
  }
  return false;
}
RAPTLY_INLINE Mf mask_from_bits(std::uint64_t bits) {
  return map_lanes<Mf>([&](int i) { return (bits >> i & 1) != 0; });
}
RAPTLY_INLINE Vi bits_of(const Vf& a) {
  Vi out;
  std::memcpy(&out, &a, sizeof(out));
  return out;
}
RAPTLY_INLINE Vf from_bits(const Vi& a) {
  Vf out;
  std::memcpy(&out, &a, sizeof(out));
  return out;
}
template <int N>
RAPTLY_INLINE Vi shift_left(const Vi& a) {
  return map_lanes<Vi>(
      [&](int i) { return static_cast<std::int32_t>(static_cast<std::uint32_t>(a.lane[i]) << N); });
}
RAPTLY_INLINE float first_lane(const Vf& a) { return a.lane[0]; }
RAPTLY_INLINE float max_lane(const Vf& a) {
  float best = a.lane[0];
  for (int i = 1; i < kLanes; ++i) best = a.lane[i] > best ? a.lane[i] : best;
  return best;
}
RAPTLY_INLINE Vi set_bits(std::uint32_t x) {
  return map_lanes<Vi>([&](int) { return static_cast<std::int32_t>(x); });
}
RAPTLY_INLINE Vi load_bits(const std::uint32_t* p) {
  return map_lanes<Vi>([&](int i) { return static_cast<std::int32_t>(p[i]); });
}
RAPTLY_INLINE Vi bit_and(const Vi& a, const Vi& b) {
  return map_lanes<Vi>([&](int i) { return a.lane[i] & b.lane[i]; });
}
RAPTLY_INLINE Vi bit_or(const Vi& a, const Vi& b) {
  return map_lanes<Vi>([&](int i) { return a.lane[i] | b.lane[i]; });
}
RAPTLY_INLINE Mf is_zero(const Vi& a) {
  return map_lanes<Mf>([&](int i) { return a.lane[i] == 0; });
}
RAPTLY_INLINE Mf equal(const Vi& a, const Vi& b) {
  return map_lanes<Mf>([&](int i) { return a.lane[i] == b.lane[i]; });
}
RAPTLY_INLINE void store(const Vf& v, F16* p) {
  for (int i = 0; i < kLanes; ++i) p[i] = to_f16(v.lane[i]);
}
RAPTLY_INLINE void store(const Vf& v, Bf16* p) {
  for (int i = 0; i < kLanes; ++i) p[i] = to_bf16(v.lane[i]);
}

}  // namespace scalar
}  // namespace raptly
