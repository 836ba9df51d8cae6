// The scalar level of matmul: plain loops over single outputs, the same canonical row.
#include <cmath>

#include "kernels/matmul/lane_reader.h"
#include "kernels/matmul/matmul_kernels.h"

namespace raptly {
namespace scalar {

void quantize_rows(const float* x, std::int64_t rows, std::int64_t x_stride, std::int64_t n_in,
                   ActivationBlock* out);
void int16_panels(const PanelMatrix& w, const ActivationBlock* x, const MatmulRange& range,
                  MatmulScratch& scratch);
void f32_panels(const PanelMatrix& w, const float* x, std::int64_t x_stride,
                const MatmulRange& range, MatmulScratch& scratch);

void quantize_rows(const float* x, std::int64_t rows, std::int64_t x_stride, std::int64_t n_in,
                   ActivationBlock* out) {
  for (std::int64_t r = 0; r < rows; ++r, x += x_stride) {
    for (std::int64_t i = 0; i < n_in; i += 32, ++out) {
      std::int32_t bits = 0;
      for (int e = 0; e < 32; ++e) {
        std::int32_t magnitude;
        std::memcpy(&magnitude, x + i + e, sizeof(magnitude));
        magnitude &= 0x7fffffff;
        if (magnitude > bits) bits = magnitude;
      }
      float largest;
      std::memcpy(&largest, &bits, sizeof(largest));
      if (bits < kTinyBits || bits >= kInfinityBits) {
        std::memset(out->q, 0, sizeof(out->q));
        out->scale = out->scaled_sum = bits < kTinyBits ? 0.0f : __builtin_nanf("");
        continue;
      }
      const float inverse = kMaxActivation / largest;
      std::int32_t sum = 0;
      for (int e = 0; e < 32; ++e) {
        out->q[e] = static_cast<std::int16_t>(std::nearbyint(x[i + e] * inverse));
        sum += out->q[e];
      }
      out->scale = largest / kMaxActivation;
      out->scaled_sum = out->scale * static_cast<float>(sum);
    }
  }
}

namespace {

// body(output o, panel, lane) for every output of a range.
template <class Body>
void for_each_output(const PanelMatrix& w, const MatmulRange& range, Body&& body) {
  for (std::int64_t o = range.panel_begin * 16; o < range.panel_end * 16 && o < w.n_out; ++o) {
    body(o, w.data + o / 16 * w.panel_bytes, static_cast<int>(o % 16));
  }
}

template <WeightType kType>
void int16_outputs(const PanelMatrix& w, const ActivationBlock* x, const MatmulRange& range) {
  using Format = PanelFormat<kType>;
  constexpr int kStepElements = 32 / Format::kSteps;
  const std::int64_t blocks = w.n_in / 32;
  for_each_output(w, range, [&](std::int64_t o, const std::byte* panel, int lane) {
    for (std::int64_t r = 0; r < range.rows; ++r) range.y[r * range.y_stride + o] = 0.0f;
    for (std::int64_t b = 0; b < blocks; ++b) {
      const LaneBlock block = read_block<kType>(panel, b, lane);
      for (std::int64_t r = 0; r < range.rows; ++r) {
        const ActivationBlock& xb = x[r * blocks + b];
        float& f = range.y[r * range.y_stride + o];
        for (int first = 0; first < 32; first += kStepElements) {
          std::int32_t dot = 0;
          for (int e = first; e < first + kStepElements; ++e) dot += block.code[e] * xb.q[e];
          f = std::fma(static_cast<float>(dot) * xb.scale, block.scale[first / 16], f);
        }
        if (Format::kMin) f = std::fma(xb.scaled_sum, block.least, f);
      }
    }
  });
}

}  // namespace

void int16_panels(const PanelMatrix& w, const ActivationBlock* x, const MatmulRange& range,
                  MatmulScratch&) {
  switch (w.type) {
    case WeightType::kQ4_0:
      return int16_outputs<WeightType::kQ4_0>(w, x, range);
    case WeightType::kQ4_1:
      return int16_outputs<WeightType::kQ4_1>(w, x, range);
    case WeightType::kQ5_0:
      return int16_outputs<WeightType::kQ5_0>(w, x, range);
    case WeightType::kQ5_1:
      return int16_outputs<WeightType::kQ5_1>(w, x, range);
    case WeightType::kQ8_0:
      return int16_outputs<WeightType::kQ8_0>(w, x, range);
    case WeightType::kQ4K:
      return int16_outputs<WeightType::kQ4K>(w, x, range);
    case WeightType::kQ5K:
      return int16_outputs<WeightType::kQ5K>(w, x, range);
    case WeightType::kQ6K:
      return int16_outputs<WeightType::kQ6K>(w, x, range);
    case WeightType::kF32:
    case WeightType::kF16:
    case WeightType::kBf16:
      return;
  }
}

namespace {

// read(panel, first input, lane, out[32]): 32 weights of an output.
template <class Read>
void f32_outputs(const PanelMatrix& w, const float* x, std::int64_t x_stride,
                 const MatmulRange& range, Read&& read) {
  for_each_output(w, range, [&](std::int64_t o, const std::byte* panel, int lane) {
    for (std::int64_t r = 0; r < range.rows; ++r) range.y[r * range.y_stride + o] = 0.0f;
    for (std::int64_t i = 0; i < w.n_in; i += 32) {
      float weights[32];
      read(panel, i, lane, weights);
      for (std::int64_t r = 0; r < range.rows; ++r) {
        float& f = range.y[r * range.y_stride + o];
        for (int e = 0; e < 32; ++e) f = std::fma(x[r * x_stride + i + e], weights[e], f);
      }
    }
  });
}

template <class T>
void f32_float_type(const PanelMatrix& w, const float* x, std::int64_t x_stride,
                    const MatmulRange& range) {
  f32_outputs(w, x, x_stride, range,
              [](const std::byte* panel, std::int64_t i, int lane, float* out) {
                for (int e = 0; e < 32; ++e) out[e] = read_float<T>(panel, i + e, lane);
              });
}

template <WeightType kType>
void f32_quantized(const PanelMatrix& w, const float* x, std::int64_t x_stride,
                   const MatmulRange& range) {
  f32_outputs(w, x, x_stride, range,
              [&](const std::byte* panel, std::int64_t i, int lane, float* out) {
                const LaneBlock block = read_block<kType>(panel, i / 32, lane);
                for (int e = 0; e < 32; ++e) out[e] = dequantized(block, e);
              });
}

}  // namespace

void f32_panels(const PanelMatrix& w, const float* x, std::int64_t x_stride,
                const MatmulRange& range, MatmulScratch&) {
  switch (w.type) {
    case WeightType::kF32:
      return f32_float_type<float>(w, x, x_stride, range);
    case WeightType::kF16:
      return f32_float_type<F16>(w, x, x_stride, range);
    case WeightType::kBf16:
      return f32_float_type<Bf16>(w, x, x_stride, range);
    case WeightType::kQ4_0:
      return f32_quantized<WeightType::kQ4_0>(w, x, x_stride, range);
    case WeightType::kQ4_1:
      return f32_quantized<WeightType::kQ4_1>(w, x, x_stride, range);
    case WeightType::kQ5_0:
      return f32_quantized<WeightType::kQ5_0>(w, x, x_stride, range);
    case WeightType::kQ5_1:
      return f32_quantized<WeightType::kQ5_1>(w, x, x_stride, range);
    case WeightType::kQ8_0:
      return f32_quantized<WeightType::kQ8_0>(w, x, x_stride, range);
    case WeightType::kQ4K:
      return f32_quantized<WeightType::kQ4K>(w, x, x_stride, range);
    case WeightType::kQ5K:
      return f32_quantized<WeightType::kQ5K>(w, x, x_stride, range);
    case WeightType::kQ6K:
      return f32_quantized<WeightType::kQ6K>(w, x, x_stride, range);
  }
}

}  // namespace scalar
}  // namespace raptly
